# The part of nixpkgs' `lib` that nix/module.nix uses, written for this test suite, so that the module
# can be evaluated where nixpkgs is not to be had. It is not nixpkgs: what it gives is compared with
# results that nixpkgs gave (golden/), and every test runs against the real lib instead when
# NIB_NIXPKGS_LIB names one.
let
  inherit (builtins)
    all
    attrNames
    concatLists
    concatMap
    concatStringsSep
    elem
    filter
    foldl'
    functionArgs
    hasAttr
    head
    isAttrs
    isBool
    isFloat
    isFunction
    isInt
    isList
    isPath
    isString
    length
    listToAttrs
    mapAttrs
    removeAttrs
    toJSON
    ;

  isType = t: x: isAttrs x && (x._type or null) == t;
  isDerivation = isType "derivation";
  isDerivation' = x: isAttrs x && (x.type or null) == "derivation";
  showOption = concatStringsSep ".";
  unique = foldl' (acc: x: if elem x acc then acc else acc ++ [ x ]) [ ];
  fail = loc: msg: throw "The option `${showOption loc}' ${msg}";

  # --- properties ---------------------------------------------------------------
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };
  mkOverride = priority: content: {
    _type = "override";
    inherit priority content;
  };
  mkOptionDefault = mkOverride 1500;

  pushDown =
    v:
    if isType "merge" v then
      concatMap pushDown v.contents
    else if isType "if" v then
      map (mapAttrs (_: mkIf v.condition)) (pushDown v.content)
    else if isType "override" v then
      map (mapAttrs (_: mkOverride v.priority)) (pushDown v.content)
    else
      [ v ];

  discharge =
    v:
    if isType "merge" v then
      concatMap discharge v.contents
    else if isType "if" v then
      if isBool v.condition then
        (if v.condition then discharge v.content else [ ])
      else
        throw "mkIf called with a non-Boolean condition"
    else
      [ v ];

  mergeDefs =
    loc: type: defs:
    let
      values = concatMap discharge defs;
      prio = v: if isType "override" v then v.priority else 100;
      highest = foldl' (p: v: if prio v < p then prio v else p) 9999 values;
      kept = map (v: if isType "override" v then v.content else v) (filter (v: prio v == highest) values);
      bad = filter (v: !type.check v) kept;
    in
    {
      isDefined = kept != [ ];
      value =
        if bad != [ ] then
          throw "A definition for option `${showOption loc}' is not of type `${type.description}'."
        else
          type.merge loc kept;
    };

  mergeEqual =
    loc: vs:
    if all (v: v == head vs) vs then head vs else fail loc "has conflicting definition values.";
  mergeOne =
    loc: vs:
    if length vs == 1 then
      head vs
    else
      fail loc "is defined multiple times while it's expected to be unique.";

  # --- types --------------------------------------------------------------------
  mk = name: check: merge: {
    _type = "option-type";
    inherit name check merge;
    description = name;
  };
  simple = name: check: mk name check mergeEqual;
  isStringLike = x: isString x || isPath x || isDerivation' x;
  types = rec {
    bool = simple "boolean" isBool;
    int = simple "signed integer" isInt;
    float = simple "floating point number" isFloat;
    str = simple "string" isString;
    lines = mk "strings concatenated with \"\\n\"" isString (_: concatStringsSep "\n");
    path = simple "absolute path" (x: isStringLike x && builtins.substring 0 1 (toString x) == "/");
    package = mk "package" isDerivation' mergeOne;
    enum = vs: simple "one of ${toJSON vs}" (x: elem x vs);
    ints.between =
      lo: hi:
      simple "integer between ${toString lo} and ${toString hi} (both inclusive)" (
        x: isInt x && x >= lo && x <= hi
      );
    ints.positive = simple "positive integer, meaning >0" (x: isInt x && x > 0);
    port = ints.between 0 65535;

    either =
      a: b:
      mk "${a.description} or ${b.description}" (x: a.check x || b.check x) (
        loc: vs:
        if all a.check vs then
          a.merge loc vs
        else if all b.check vs then
          b.merge loc vs
        else
          mergeEqual loc vs
      );
    nullOr =
      t:
      mk "null or ${t.description}" (x: x == null || t.check x) (
        loc: vs:
        let
          nulls = length (filter (v: v == null) vs);
        in
        if nulls == 0 then
          t.merge loc vs
        else if nulls == length vs then
          null
        else
          fail loc "is defined both null and not null."
      );
    oneOf = ts: foldl' either (head ts) (builtins.tail ts);
    listOf =
      t:
      mk "list of ${t.description}" isList (
        loc: vs:
        let
          items = concatLists vs;
          merged = map (v: mergeDefs (loc ++ [ "*" ]) t [ v ]) items;
        in
        map (m: m.value) (filter (m: m.isDefined) merged)
      );
    attrsOf =
      t:
      mk "attribute set of ${t.description}" isAttrs (
        loc: vs:
        let
          names = unique (concatMap attrNames vs);
          merged = listToAttrs (
            map (n: {
              name = n;
              value = mergeDefs (loc ++ [ n ]) t (concatMap (v: if hasAttr n v then [ v.${n} ] else [ ]) vs);
            }) names
          );
        in
        mapAttrs (_: m: m.value) (removeAttrs merged (filter (n: !merged.${n}.isDefined) names))
      );
    submodule =
      m:
      mk "submodule" (x: isAttrs x || isFunction x) (
        loc: vs:
        (evalModules' loc ([ m ] ++ map (v: if isFunction v then v else { config = v; }) vs)).config
      );

    # as pkgs.formats.json's: null, atoms, and lists and attribute sets of the same
    json =
      let
        t =
          nullOr (
            foldl' either bool [
              int
              float
              str
              path
              (attrsOf t)
              (listOf t)
            ]
          )
          // {
            description = "JSON value";
          };
      in
      t;

    # as in nixpkgs for what the tests define: lists do not merge, attribute sets do
    anything = mk "anything" (_: true) (
      loc: vs:
      if all (v: isAttrs v && !isDerivation' v) vs then
        (attrsOf anything).merge loc vs
      else
        mergeEqual loc vs
    );
  };

  # --- modules ------------------------------------------------------------------
  mkOption = o: { _type = "option"; } // o;

  callModule =
    args: moduleArgs: m:
    let
      v = if isPath m || isString m then import m else m;
      # `_module.args` come from modules: looked up by name, only when used
      given = mapAttrs (
        n: _: args.${n} or moduleArgs.${n} or (throw "module argument `${n}' is missing")
      ) (functionArgs v);
      r = if isFunction v then v (args // given) else v;
      structured = r ? config || r ? options;
      known = [
        "imports"
        "options"
        "config"
        "freeformType"
        "_module"
        "key"
        "_file"
        "meta"
      ];
      stray = filter (n: !(elem n known)) (attrNames r);
    in
    if structured && stray != [ ] then
      throw "Module has an unsupported attribute `${head stray}'."
    else
      {
        imports = r.imports or [ ];
        options = if structured then r.options or { } else { };
        freeform = r.freeformType or null;
        config =
          if structured then
            r.config or { }
          else
            removeAttrs r [
              "imports"
              "_module"
              "freeformType"
              "key"
              "_file"
            ];
        moduleArgs = (r._module or { }).args or { };
      };

  evalModules' =
    prefix: modules:
    let
      args = {
        inherit lib config;
        name = if prefix == [ ] then "" else builtins.elemAt prefix (length prefix - 1);
      };
      collect =
        ms:
        concatMap (
          m:
          let
            c = callModule args moduleArgs m;
          in
          [ c ] ++ collect c.imports
        ) ms;
      # Definitions of later modules come first, as in nixpkgs.
      reverse = foldl' (acc: x: [ x ] ++ acc) [ ];
      collected = collect modules;
      moduleArgs = foldl' (acc: m: acc // m.moduleArgs) { } collected;
      freeforms = filter (f: f != null) (map (m: m.freeform) collected);

      mergeOptions =
        loc: sets:
        listToAttrs (
          map (n: {
            name = n;
            value =
              let
                here = concatMap (s: if hasAttr n s then [ s.${n} ] else [ ]) sets;
                leaves = filter (isType "option") here;
              in
              if leaves == [ ] then
                mergeOptions (loc ++ [ n ]) here
              else if length here == 1 then
                head here
              else
                throw "The option `${showOption (loc ++ [ n ])}' is already declared.";
          }) (unique (concatMap attrNames sets))
        );

      evalOption =
        loc: opt: defs:
        let
          withDefault = defs ++ (if opt ? default then [ (mkOptionDefault opt.default) ] else [ ]);
          m = mergeDefs loc (opt.type or types.anything) withDefault;
          count = length (concatMap discharge defs);
          value =
            if (opt.readOnly or false) && count + (if opt ? default then 1 else 0) > 1 then
              fail loc "is read-only, but it's set multiple times."
            else if !m.isDefined then
              fail loc "was accessed but has no value defined. Try setting the option."
            else
              m.value;
        in
        (opt.apply or (x: x)) value;

      evalTree =
        loc: freeform: opts: defs:
        let
          sets = concatMap pushDown defs;
          pick = n: concatMap (s: if hasAttr n s then [ s.${n} ] else [ ]) sets;
          declared = mapAttrs (
            n: o:
            if isType "option" o then
              evalOption (loc ++ [ n ]) o (pick n)
            else
              evalTree (loc ++ [ n ]) null o (pick n)
          ) opts;
          rest = filter (s: s != { }) (map (s: removeAttrs s (attrNames opts)) sets);
          names = unique (concatMap attrNames rest);
          extra =
            if names == [ ] then
              { }
            else if freeform != null then
              (mergeDefs loc freeform rest).value
            else
              throw "The option `${showOption (loc ++ [ (head names) ])}' does not exist.";
        in
        if !(all isAttrs sets) then
          throw "The option `${showOption loc}' is not an option: it is a set of options."
        else
          extra // declared;

      config = evalTree prefix (if freeforms == [ ] then null else head freeforms) (mergeOptions prefix (
        map (m: m.options) collected
      )) (map (m: m.config) (reverse collected));
    in
    {
      inherit config;
      options = { };
    };

  lib = {
    inherit
      types
      mkOption
      mkIf
      mkMerge
      mkOverride
      isType
      isDerivation
      ;
    generators.toPretty = _: toJSON;
    removePrefix =
      prefix: s:
      let
        n = builtins.stringLength prefix;
      in
      if builtins.substring 0 n s == prefix then builtins.substring n (-1) s else s;
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    mkEnableOption =
      what:
      mkOption {
        type = types.bool;
        default = false;
        description = "Whether to enable ${what}.";
      };
    literalExpression = text: {
      _type = "literalExpression";
      inherit text;
    };
    getExe' = p: name: "${p}/bin/${name}";
    evalModules = { modules, ... }: evalModules' [ ] modules;
  };
in
lib

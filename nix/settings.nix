# The options of services.nib.settings, read from the JSON Schema that nib checks with, so that the
# two cannot differ. They know the shape and the defaults; what a value means is checked by nib-gen
# when the system is built, and a key that is not in the schema is left to it as well.
{
  lib,
  # The type of whatever has no option.
  freeform,
  schema ? builtins.fromJSON (builtins.readFile ../gen/nib/schema.json),
}:
let
  inherit (lib) literalExpression mkOption types;
  inherit (builtins)
    elem
    isList
    mapAttrs
    removeAttrs
    replaceStrings
    ;

  resolve =
    part:
    if part ? "$ref" then
      schema."$defs".${replaceStrings [ "#/$defs/" ] [ "" ] part."$ref"} // removeAttrs part [ "$ref" ]
    else
      part;

  typeOf =
    unresolved:
    let
      part = resolve unresolved;
      kinds = if isList part.type then part.type else [ part.type ];
    in
    if part ? enum then types.enum part.enum else either (map (kind: ofKind.${kind} part) kinds);

  either =
    alternatives:
    let
      documented = builtins.filter (type: type.name or null == "submodule") alternatives;
    in
    if builtins.length alternatives == 1 then
      builtins.head alternatives
    else
      # oneOf does not show the options of a submodule in the manual.
      types.oneOf alternatives
      // optional (documented != [ ]) { inherit (builtins.head documented) getSubOptions; };

  ofKind = {
    string = _: types.str;
    boolean = _: types.bool;
    integer =
      part: if part ? minimum then types.ints.between part.minimum part.maximum else types.int;
    array = part: types.listOf (typeOf part.items);
    object =
      part:
      if part ? properties then
        types.submodule (module part)
      else
        types.attrsOf (typeOf part.additionalProperties);
  };

  module = part: {
    freeformType = types.attrsOf freeform;
    options = mapAttrs (
      name: property: option (elem name (part.required or [ ])) (resolve property)
    ) part.properties;
  };

  # A value that is not given is null, and left out of the file: only nib-gen applies defaults, some
  # of which depend on other keys.
  option =
    required: part:
    mkOption (
      { inherit (part) description; }
      // optional (part ? examples) { example = builtins.head part.examples; }
      // (
        if required then
          { type = typeOf part; }
        else
          {
            type = types.nullOr (typeOf part);
            default = null;
          }
          // optional (part ? default) {
            defaultText = literalExpression (lib.generators.toPretty { } part.default);
          }
      )
    );

  optional = condition: attrs: if condition then attrs else { };
in
module schema

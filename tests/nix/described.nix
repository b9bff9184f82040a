# The options of services.nib.settings as plain data: what nix/settings.nix makes of the schema, with a
# `lib` whose types only say what they are.
let
  lib = {
    literalExpression = text: text;
    generators.toPretty = _: builtins.toJSON;
    mkOption = option: option;
    types = {
      str = "string";
      bool = "boolean";
      int = "integer";
      ints.between = low: high: "integer ${toString low}-${toString high}";
      enum = words: { inherit words; };
      nullOr = of: { nullOr = of; };
      listOf = of: { listOf = of; };
      attrsOf = of: { attrsOf = of; };
      oneOf = of: { oneOf = of; };
      submodule = module: {
        name = "submodule";
        getSubOptions = "shown";
        inherit (module) options;
      };
    };
  };
in
(import ../../nix/settings.nix {
  inherit lib;
  freeform = null;
}).options

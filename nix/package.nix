{
  lib,
  python3Packages,
  iproute2,
  nftables,
  util-linux,
}:
let
  inherit (builtins.fromTOML (builtins.readFile ../pyproject.toml)) project;
in
python3Packages.buildPythonApplication {
  pname = "nib";
  inherit (project) version;
  pyproject = true;

  src = lib.sourceByRegex ../. [
    "^(LICENSE|README\\.md|pyproject\\.toml)$"
    "^(gen|templates)(/.*)?$"
  ];

  build-system = [ python3Packages.hatchling ];
  dependencies = with python3Packages; [
    jinja2
    jsonschema
    pyyaml
  ];

  # What the programs call; systemctl and networkctl are those of the system.
  makeWrapperArgs = [
    "--prefix"
    "PATH"
    ":"
    (lib.makeBinPath [
      iproute2
      nftables
      util-linux
    ])
  ];

  # The tests boot systems of their own and need root: tests/run.
  doCheck = false;
  pythonImportsCheck = [ "nib" ];

  meta = {
    inherit (project) description;
    license = lib.licenses.mit;
    mainProgram = "nib";
    platforms = lib.platforms.linux;
  };
}

# A very small `pkgs` whose builders are the host's own bash and tools, for machines with nix but
# without nixpkgs or a binary cache. It has what nix/module.nix asks of `pkgs`, under the same names and
# with the same results (a store path with the same content); it does not try to be nixpkgs.
{
  lib,
  # A Python that has what nib depends on.
  python,
  # Whether the system is built for another machine than the one that builds it.
  cross ? false,
  system ? builtins.currentSystem,
}:
let
  shell = "/bin/bash";
  path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

  # runCommand name env script, as in nixpkgs
  runCommand =
    name: env: script:
    builtins.derivation (
      removeAttrs env [
        "preferLocalBuild"
        "allowSubstitutes"
        "passthru"
        "nativeBuildInputs"
        "meta"
      ]
      // {
        inherit name system;
        builder = shell;
        # bash must outlive the last command: nix kills a builder whose output is closed,
        # and coreutils close it shortly before they exit (seen as "signal 9 (Killed)").
        args = [
          "-c"
          "set -euo pipefail; export PATH=${path}; export HOME=/homeless-shelter; ${script}\nexit 0"
        ];
      }
    )
    // (env.passthru or { })
    // {
      meta = env.meta or { };
    };

  writeTextFile =
    {
      name,
      text,
      executable ? false,
      checkPhase ? "",
      ...
    }:
    runCommand name { inherit text; } ''
      printf '%s' "$text" > "$out"
      ${if executable then "chmod +x \"$out\"" else ""}
      ${checkPhase}
    '';

  hostTool =
    tool: name:
    runCommand name { } ''
      mkdir -p "$out/bin"
      printf '#!/bin/sh\nexec %s "$@"\n' "$(command -v ${tool} || echo /usr/bin/${tool})" > "$out/bin/${tool}"
      chmod +x "$out/bin/${tool}"
    '';

  # as nixpkgs has it: `jq .` makes it readable
  json = _: {
    type = lib.types.json or lib.types.anything;
    generate =
      name: value:
      runCommand name { value = builtins.toJSON value; } ''
        printf '%s' "$value" | ${python} -m json.tool --indent 2 > "$out"
      '';
  };

  platform.canExecute = _: !cross;
  nibNamed =
    name:
    runCommand name
      {
        src = builtins.path {
          name = "nib-source";
          path = ../..;
          filter =
            path: _:
            let
              below = lib.removePrefix (toString ../.. + "/") path;
            in
            builtins.match "(gen|templates)(/.*)?" below != null
            && builtins.match ".*__pycache__.*" below == null;
        };
      }
      ''
        mkdir -p "$out/bin"
        cp -r "$src" "$out/lib"
        program() {
          printf '#!/bin/sh\nexport PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=%s\nexec %s -c "import sys; from %s import main; sys.exit(main())" "$@"\n' \
            "$out/lib/gen" ${python} "$2" > "$out/bin/$1"
          chmod +x "$out/bin/$1"
        }
        program nib nib.operator
        program nib-gen nib.cli
        program nib-monitor nib.monitor.daemon
        program nib-notify nib.notifier.daemon
        program nib-history nib.history.recorder
        program nib-metrics nib.exporter
        program nib-mail nib.notifier.mailer
      '';
in
rec {
  inherit
    lib
    runCommand
    writeTextFile
    system
    ;
  writeText = name: text: writeTextFile { inherit name text; };
  # Checks the syntax, as nixpkgs does.
  writeShellScript =
    name: text:
    writeTextFile {
      inherit name;
      executable = true;
      text = "#!${shell}\n${text}\n";
      checkPhase = "${shell} -n \"$out\"";
    };
  formats.json = json;
  stdenv = {
    buildPlatform = platform;
    hostPlatform = platform;
  };
  nftables = hostTool "nft" "nftables";
  iproute2 = hostTool "ip" "iproute2";
  util-linux = hostTool "unshare" "util-linux";
  systemd = hostTool "systemctl" "systemd" // {
    version = "257.9";
  };
  callPackage = throw "hostpkgs: no callPackage; pkgs.nib is given";

  buildPackages = {
    nib = nibNamed "nib-for-building";
    nftables = hostTool "nft" "nftables-for-building";
    util-linux = hostTool "unshare" "util-linux-for-building";
  };

  nib = nibNamed "nib";
}

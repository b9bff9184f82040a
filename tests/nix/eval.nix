# nix/module.nix evaluated with one case of cases/, and the part of the result that is nib's.
# `libPath`: nixpkgs' lib, or minilib. `nixos`: a file with a function to the result of evaluating `modules`
# with real NixOS and a package set that has `host`, instead of with nixos-options.nix.
{
  case,
  python,
  libPath ? ./minilib.nix,
  nixos ? null,
  cross ? false,
}:
let
  lib = import libPath;
  host = import ./hostpkgs.nix { inherit lib python cross; };
  modules = [
    ../../nix/module.nix
    (./cases + "/${case}.nix")
    { systemd.package = host.systemd; }
  ];

  evaluated =
    if nixos == null then
      lib.evalModules {
        modules = [
          ./nixos-options.nix
          { _module.args.pkgs = host; }
        ]
        ++ modules;
      }
    else
      import nixos { inherit lib host modules; };

  inherit (evaluated) config;
  inherit (builtins)
    attrNames
    elem
    filter
    isList
    isString
    listToAttrs
    mapAttrs
    match
    ;

  # Store paths differ between package sets: only what is behind the hash is shown.
  plain =
    value:
    if isList value then
      map plain value
    else if isString value || value ? outPath then
      builtins.concatStringsSep "" (
        map (part: if isList part then "/HASH-" else part) (
          builtins.split "/[^ \"]*/[0-9a-z]{32}-" (builtins.unsafeDiscardStringContext (toString value))
        )
      )
    else
      value;
  ours = builtins.filter (value: isString value && match "/HASH-nib.*" value != null);
  select =
    wanted: attrs:
    listToAttrs (
      map (name: {
        inherit name;
        value = attrs.${name};
      }) (filter wanted (attrNames attrs))
    );

  service =
    it:
    {
      inherit (it)
        wantedBy
        wants
        after
        before
        conflicts
        reloadIfChanged
        stopIfChanged
        ;
      unitConfig = mapAttrs (_: plain) (
        select (
          name:
          elem name [
            "DefaultDependencies"
            "StartLimitIntervalSec"
          ]
        ) it.unitConfig
      );
      # NixOS itself adds the environment.
      serviceConfig = mapAttrs (_: plain) (
        select (name: !(elem name [ "Environment" ])) it.serviceConfig
      );
    };
in
{
  assertions = filter (message: match "services\\.nib.*" message != null) (
    map (it: it.message) (filter (it: !it.assertion) config.assertions)
  );
  summary = {
    etc = mapAttrs (_: it: plain it.source) (
      select (
        name: match "(nib/.*|.*05-nib.*)" name != null
      ) config.environment.etc
    );
    packages = ours (map plain config.systemd.packages);
    services = mapAttrs (_: service) (select (name: match "nib-.*" name != null) config.systemd.services);
    networkd = config.systemd.network.enable;
    inherit (config.systemd.network.wait-online) anyInterface;
    reload = ours (map plain (config.systemd.services.systemd-networkd.reloadTriggers or [ ]));
    restart = ours (map plain (config.systemd.services.systemd-networkd.restartTriggers or [ ]));
    sysctl = ours (map plain (config.systemd.services.systemd-sysctl.restartTriggers or [ ]));
    deny = filter (device: match "v[eb]-.*" device == null) config.networking.dhcpcd.denyInterfaces;
    inherit (config.networking.firewall) checkReversePath;
    tables = filter (name: match "nib.*" name != null) (attrNames config.networking.nftables.tables);
  };
  hook = config.environment.etc."nib/hooks/down.d/50-note".source;
  inherit (config.services.nib)
    rendered
    configFile
    package
    settings
    ;
}

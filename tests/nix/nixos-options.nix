# The options of NixOS that nix/module.nix defines or reads, with the types and defaults NixOS gives
# them, for evaluation without NixOS. golden/ has what the same cases give with real NixOS modules.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  declare = type: default: mkOption { inherit type default; };
  bool = declare types.bool;
  strings = declare (types.listOf types.str) [ ];
  attrsOf = options: declare (types.attrsOf (types.submodule { inherit options; })) { };
  anything = declare (types.attrsOf types.anything) { };
  addresses = {
    addresses = declare (types.listOf types.anything) [ ];
  };
in
{
  options = {
    assertions = declare (types.listOf types.anything) [ ];

    users.groups = anything;
    users.users = anything;
    environment.systemPackages = declare (types.listOf types.package) [ ];
    environment.etc = attrsOf { source = mkOption { type = types.path; }; };

    systemd = {
      package = mkOption { type = types.package; };
      packages = declare (types.listOf types.package) [ ];
      services = attrsOf {
        description = declare types.str "";
        wantedBy = strings;
        wants = strings;
        before = strings;
        after = strings;
        conflicts = strings;
        reloadIfChanged = bool false;
        stopIfChanged = bool true;
        reloadTriggers = declare (types.listOf types.anything) [ ];
        restartTriggers = declare (types.listOf types.anything) [ ];
        unitConfig = anything;
        serviceConfig = anything;
      };
      network.enable = bool false;
      # as long as networking.useDHCP is on, as it is by default
      network.wait-online.anyInterface = bool true;
      network.netdevs = anything;
      network.networks = attrsOf {
        enable = bool true;
        matchConfig = anything;
        networkConfig = anything;
      };
    };

    networking = {
      useNetworkd = bool false;
      dhcpcd.denyInterfaces = strings;
      networkmanager.enable = bool false;
      networkmanager.unmanaged = strings;
      interfaces = attrsOf {
        useDHCP = declare (types.nullOr types.bool) null;
        ipv4 = addresses;
        ipv6 = addresses;
      };
      defaultGateway = declare (types.nullOr types.anything) null;
      defaultGateway6 = declare (types.nullOr types.anything) null;
      firewall.enable = bool true;
      firewall.checkReversePath = declare (types.either types.bool (
        types.enum [
          "strict"
          "loose"
        ]
      )) true;
      nftables.enable = bool false;
      nftables.tables = anything;
    };
  };
}

# beside the iptables firewall; two definitions that merge, and a default that gives way
{ lib, ... }:
{
  imports = [
    {
      services.nib.settings.uplinks.dsl = {
        device = "wan2";
        address = "dhcp";
      };
    }
  ];
  networking.firewall.checkReversePath = false;
  services.nib = {
    enable = true;
    settings.uplinks.cable = lib.mkMerge [
      {
        device = "wan1";
        address = "dhcp";
        weight = lib.mkDefault 1;
      }
      (lib.mkIf true { weight = 7; })
      (lib.mkIf false { weight = 9; })
    ];
    settings.lans.home = {
      device = "lan1";
      address = "192.168.10.1/24";
    };
    monitor.enable = false;
  };
}

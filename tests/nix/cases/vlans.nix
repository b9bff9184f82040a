# the uplinks are VLANs of one port, made by NixOS
{
  systemd.network = {
    netdevs."10-cable" = {
      netdevConfig = {
        Kind = "vlan";
        Name = "port.10";
      };
      vlanConfig.Id = 10;
    };
    networks."10-port" = {
      matchConfig.Name = "port";
      networkConfig.VLAN = [ "port.10" ];
    };
  };
  # said of a device, but no address: networkd takes nib's file, which comes first
  networking.useNetworkd = true;
  networking.interfaces.wan2 = { };
  services.nib = {
    enable = true;
    settings.uplinks = {
      cable = {
        device = "port.10";
        address = "dhcp";
      };
      dsl = {
        device = "wan2";
        address = "dhcp";
      };
    };
    settings.lans.home = {
      device = "lan1";
      address = "192.168.10.1/24";
    };
  };
}

# an uplink and a LAN that NixOS configures, to which nib adds
{
  systemd.network.networks = {
    "30-wan" = {
      matchConfig.Name = "wan1";
      networkConfig.DHCP = "yes";
    };
    "30-home" = {
      matchConfig.Name = "lan1";
      networkConfig.Address = "192.168.10.1/24";
    };
  };
  services.nib = {
    enable = true;
    settings = {
      uplinks.cable = {
        device = "wan1";
        address = "dhcp";
        network = "30-wan.network";
        metered.budget = "20MB";
      };
      uplinks.dsl = {
        device = "wan2";
        address = "dhcp";
        bandwidth = {
          down = "50Mbit";
          up = "10Mbit";
        };
      };
      lans.home = {
        device = "lan1";
        address = "192.168.10.1/24";
        network = "30-home.network";
        dhcp_server = true;
      };
      rules = [
        {
          match.time = [ "Sat,Sun" ];
          use = "dsl";
        }
      ];
    };
  };
}

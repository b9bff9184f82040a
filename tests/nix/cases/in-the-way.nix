# all that is refused with a sentence of the module's own, at once
{
  networking = {
    interfaces.wan2.useDHCP = true;
    interfaces.lan1.ipv4.addresses = [
      {
        address = "192.168.10.1";
        prefixLength = 24;
      }
    ];
    # nobody's business: not a device of nib's
    interfaces.dmz.useDHCP = true;
    defaultGateway = "198.51.100.1";
    firewall.checkReversePath = "strict";
  };
  systemd.network.networks = {
    "30-wan".matchConfig.Name = "eth* wan1";
    "40-other".matchConfig.Name = "dmz";
  };
  services.nib = {
    enable = true;
    nftables.enable = false;
    monitor.enable = true;
    settings = {
      uplinks.cable = {
        device = "wan1";
        address = "dhcp";
      };
      uplinks.dsl = {
        device = "wan2";
        address = "dhcp";
      };
      lans.home = {
        device = "lan1";
        address = "192.168.10.1/24";
      };
      # another's: NixOS may configure it
      lans.dmz = {
        device = "dmz";
        address = "external";
      };
    };
  };
}

# NixOS's own firewall filters, nib balances
{
  networking.nftables.enable = true;
  services.nib = {
    enable = true;
    settings = {
      firewall = "off";
      uplinks.cable = {
        device = "wan1";
        address = "dhcp";
      };
      lans.home = {
        device = "lan1";
        address = "192.168.10.1/24";
      };
    };
  };
}

{
  services.nib = {
    enable = true;
    settings.uplinks.cable = {
      device = "wan1";
      address = "dhcp";
    };
    nftables.fragments.mine = "add rule inet nib user_typo accept";
  };
}

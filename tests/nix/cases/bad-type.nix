{
  services.nib = {
    enable = true;
    settings.uplinks.cable = {
      device = "wan1";
      address = "dhcp";
    };
    settings.lans.home = {
      device = 5;
      address = "external";
    };
  };
}

{
  services.nib = {
    enable = true;
    settings.uplinks.cable = {
      device = "wan1";
      address = "dhcp";
    };
    settings.uplinks.cable.wieght = 3;
  };
}

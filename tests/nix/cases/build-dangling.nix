{
  services.nib = {
    enable = true;
    settings.uplinks.cable = {
      device = "wan1";
      address = "dhcp";
    };
    settings.forwarding = [ [ "home" ] ];
  };
}

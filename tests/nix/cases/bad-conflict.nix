{
  imports = [ { services.nib.settings.uplinks.cable.device = "wan2"; } ];
  services.nib = {
    enable = true;
    settings.uplinks.cable = {
      device = "wan1";
      address = "dhcp";
    };
  };
}

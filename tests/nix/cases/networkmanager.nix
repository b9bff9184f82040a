{
  networking.networkmanager.enable = true;
  networking.networkmanager.unmanaged = [ "interface-name:wan1" ];
  services.nib = {
    enable = true;
    settings.uplinks.cable = {
      device = "wan1";
      address = "dhcp";
    };
    settings.uplinks.dsl = {
      device = "wan2";
      address = "dhcp";
    };
  };
}

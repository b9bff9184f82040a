{
  services.nib = {
    enable = true;
    settings.uplinks.cable = {
      device = "wan1";
      address = "dhcp";
    };
    configFile = "/etc/nib/balance.yaml";
  };
}

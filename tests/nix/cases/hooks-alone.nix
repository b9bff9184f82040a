# nobody would run them
{
  services.nib = {
    enable = true;
    settings.uplinks.cable = {
      device = "wan1";
      address = "dhcp";
    };
    monitor.enable = false;
    hooks.long_down.mail = "true";
  };
}

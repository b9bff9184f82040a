{
  services.nib = {
    enable = true;
    settings.uplinks.cable = {
      device = "wan1";
      address = "dhcp";
    };
    hooks.down."50-note" = "if true; echo";
  };
}

# with IPv6 on two, and a single host without LANs; its users are not those of where it is built
{
  services.nib = {
    enable = true;
    settings = {
      mode = "failover";
      rules = [
        {
          match.user = "not-here";
          use = "lte";
        }
      ];
      uplinks = {
        cable = {
          device = "wan1";
          address = [
            "198.51.100.2/24"
            "2001:db8:1::2/64"
          ];
          gateway = [
            "198.51.100.1"
            "2001:db8:1::1"
          ];
        };
        dsl = {
          device = "ppp0";
          address = "external";
          tier = 2;
        };
        lte = {
          device = "wwan0";
          address = "dhcp";
          ipv6 = "off";
          tier = 3;
        };
      };
    };
  };
}

# two providers and a LAN by one port: devices that nib makes, on a parent that is nothing else
{
  services.nib = {
    enable = true;
    settings = {
      uplinks = {
        cable = {
          device = "isp1";
          netdev.macvlan = "eth0";
          address = "dhcp";
        };
        dsl = {
          device = "isp2";
          netdev = {
            vlan = "eth0";
            id = 30;
          };
          address = "198.51.100.2/24";
          gateway = "198.51.100.1";
        };
      };
      lans.home = {
        device = "lan1";
        address = "192.168.10.1/24";
      };
    };
  };
}

# Two providers, a router that runs nib and a client behind it; one provider falls silent and comes
# back. For the test framework of NixOS: pkgs.testers.runNixOSTest ./vm-test.nix
let
  # Both have the address of the "internet" on lo, so that what answers tells which way was taken.
  provider = number: {
    virtualisation.interfaces.eth1 = {
      vlan = number;
      assignIP = false;
    };
    networking = {
      useNetworkd = true;
      useDHCP = false;
      firewall.enable = false;
    };
    systemd.network.networks = {
      "01-eth1" = {
        matchConfig.Name = "eth1";
        address = [ "198.51.${toString number}.1/24" ];
        networkConfig.DHCPServer = true;
        dhcpServerConfig = {
          PoolOffset = 100;
          EmitRouter = true;
        };
      };
      "01-lo" = {
        matchConfig.Name = "lo";
        address = [ "203.0.113.1/32" ];
      };
    };
    services.nginx = {
      enable = true;
      virtualHosts.default = {
        default = true;
        locations."/".return = "200 'provider ${toString number}'";
      };
    };
  };
in
{
  name = "nib";

  nodes = {
    provider1 = provider 1;
    provider2 = provider 2;

    router = {
      imports = [ ./module.nix ];
      virtualisation.interfaces = {
        wan1 = {
          vlan = 1;
          assignIP = false;
        };
        wan2 = {
          vlan = 2;
          assignIP = false;
        };
        lan1 = {
          vlan = 3;
          assignIP = false;
        };
      };
      networking = {
        useNetworkd = true;
        useDHCP = false;
        nftables.enable = true;
      };
      services.nib = {
        enable = true;
        settings = {
          uplinks = {
            one = {
              device = "wan1";
              address = "dhcp";
            };
            two = {
              device = "wan2";
              address = "dhcp";
            };
          };
          lans.home = {
            device = "lan1";
            address = "192.168.10.1/24";
          };
          probe = {
            targets = [ "203.0.113.1" ];
            interval = "200ms";
          };
        };
      };
    };

    client = {
      virtualisation.interfaces.eth1 = {
        vlan = 3;
        assignIP = false;
      };
      networking = {
        useNetworkd = true;
        useDHCP = false;
      };
      systemd.network.networks."01-eth1" = {
        matchConfig.Name = "eth1";
        address = [ "192.168.10.2/24" ];
        gateway = [ "192.168.10.1" ];
      };
    };
  };

  testScript = ''
    def providers():
        """Who answers 40 new connections of the client."""
        ask = "for i in $(seq 40); do curl -sf -m 5 http://203.0.113.1/; echo; done"
        return set(client.succeed(ask).split("\n")) - {""}


    both = {"provider 1", "provider 2"}
    start_all()
    for machine in (provider1, provider2):
        machine.wait_for_unit("nginx.service")
    for unit in ("systemd-networkd", "nftables", "nib-nftables", "nib-monitor"):
        router.wait_for_unit(f"{unit}.service")
    client.wait_for_unit("multi-user.target")

    with subtest("both providers carry the client's connections"):
        router.wait_until_succeeds("nib status", timeout=60)
        assert providers() == both

    with subtest("one falls silent, and the other carries all"):
        provider1.block()
        router.wait_until_fails("nib status", timeout=30)
        assert providers() == {"provider 2"}

    with subtest("a reload of either table brings no dead uplink back"):
        router.succeed("systemctl reload nib-nftables nftables")
        assert providers() == {"provider 2"}

    with subtest("it returns"):
        provider1.unblock()
        router.wait_until_succeeds("nib status", timeout=60)
        assert providers() == both

    with subtest("the table is put back when somebody takes it away"):
        router.succeed("nft flush ruleset")
        router.wait_until_succeeds("nft list map inet nib restore4", timeout=10)
        assert providers() == both
  '';
}

# the whole of it, beside networking.nftables
{
  networking.nftables.enable = true;
  services.nib = {
    enable = true;
    settings = {
      mode = "balance";
      uplinks = {
        cable = {
          device = "wan1";
          address = "dhcp";
          weight = 3;
          modem = {
            address = "192.168.100.1";
            device = "modem0";
            own = "192.168.100.2/24";
          };
          probe.fall = 2;
        };
        dsl = {
          device = "wan2";
          address = "198.51.100.2/24";
          gateway = "198.51.100.1";
          mtu = 1492;
        };
      };
      lans = {
        home = {
          device = "lan1";
          address = [ "192.168.10.1/24" ];
        };
        vpn = {
          device = "tun0";
          address = "external";
        };
      };
      firewall.allow = [
        {
          service = "ssh";
          limit.rate = "5/minute";
        }
        {
          protocol = "udp";
          port = [
            51820
            "60000-61000"
          ];
        }
      ];
      metrics = { };
      sets.cameras = [ "192.168.10.64/28" ];
      sets.office.file = "${./office.txt}";
      rules = [
        {
          match = {
            source = [
              "@cameras"
              "@office"
            ];
            protocol = "tcp";
          };
          use = "dsl";
        }
      ];
      policies.calls.when_down = "block";
      probe.interval = "1s";
    };
    hooks.down."50-note" = "echo \"$NIB_UPLINK: $NIB_REASON\" > \"$STATE_DIRECTORY/last\"";
    hooks.up."50-note" = "rm -f \"$STATE_DIRECTORY/last\"";
    nftables.fragments = {
      "10-printer" = ''
        add rule inet nib user_forward iifname "lan1" ip daddr 192.168.10.9 drop
      '';
      "20-guests" = "add rule inet nib user_prerouting ip saddr 192.168.10.40 goto new_dsl\n";
    };
  };
}

# services.nib: everything that nib-gen writes is written while the system is built, from
# services.nib.settings. Nothing is read back during evaluation (no import from derivation): the names
# of the files are derived here, and the build stops if nib-gen writes others.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    getExe'
    literalExpression
    mkDefault
    mkEnableOption
    mkIf
    mkMerge
    mkOption
    mkOverride
    types
    ;
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    elem
    filter
    isAttrs
    isList
    isString
    listToAttrs
    mapAttrs
    removeAttrs
    ;

  cfg = config.services.nib;
  inherit (cfg) settings;
  format = pkgs.formats.json { };

  # -- what is written -----------------------------------------------------------------------------

  # What was given: an option that was not set is null.
  given =
    value:
    if isAttrs value then
      mapAttrs (_: given) (removeAttrs value (filter (name: value.${name} == null) (attrNames value)))
    else if isList value then
      map given value
    else
      value;

  named =
    attrs:
    if attrs == null then [ ] else map (name: { inherit name; } // attrs.${name}) (attrNames attrs);
  uplinks = named settings.uplinks;
  lans = filter (lan: lan.address != "external") (named settings.lans);
  modems = filter (
    uplink: uplink.modem != null && !(elem uplink.modem.device [ null uplink.device ])
  ) uplinks;

  # What nib makes, and the parents that are nothing else.
  netdevs = filter (it: it.netdev != null) (uplinks ++ named settings.lans);
  parents = map (it: if it.netdev.vlan != null then it.netdev.vlan else it.netdev.macvlan) netdevs;
  known = map (it: it.device) (uplinks ++ named settings.lans) ++ map (it: it.modem.device) modems;
  ports = attrNames (
    listToAttrs (
      map (name: {
        inherit name;
        value = null;
      }) (filter (parent: !(elem parent known)) parents)
    )
  );

  # The devices that systemd-networkd configures by nib's files, and by which.
  networks =
    [
      {
        device = "lo";
        file = "05-nib-lo.network";
      }
    ]
    ++ map (it: {
      inherit (it) device;
      file = "05-nib-${it.name}.network";
    }) (filter (it: it.network == null) (uplinks ++ lans))
    ++ map (it: {
      inherit (it.modem) device;
      file = "05-nib-${it.name}-modem.network";
    }) modems
    ++ map (device: {
      inherit device;
      file = "05-nib-${device}-port.network";
    }) ports;
  devices = filter (device: device != "lo") (map (network: network.device) networks);

  # Those of files of the user's that nib adds to.
  adopted = filter (it: it.network != null) (uplinks ++ lans);

  linked =
    map (network: "systemd/network/${network.file}") networks
    ++ map (it: "systemd/network/${it.network}.d/05-nib.conf") adopted
    ++ map (it: "systemd/network/05-nib-${it.name}.netdev") netdevs
    ++ [
      "nib/nib.nft"
      "nib/plan.json"
      "nib/stopped.nft"
      "sysctl.d/05-nib.conf"
      "systemd/networkd.conf.d/05-nib.conf"
    ];
  mail = settings.notify != null && settings.notify.mail != null;
  metrics = settings.metrics != null && settings.metrics != "off";
  monitorUnits = [
    "nib-monitor.service"
    "nib-monitor.socket"
    "nib-notify.service"
    "nib-history.service"
  ]
  ++ (
    if metrics then
      [
        "nib-metrics.socket"
        "nib-metrics.service"
      ]
    else
      [ ]
  )
  ++ (
    if mail then
      [
        "nib-mail.socket"
        "nib-mail@.service"
      ]
    else
      [ ]
  );
  units = map (unit: "systemd/system/${unit}") monitorUnits ++ [
    # The two that NixOS has in its own words: see below, and systemd.network.wait-online.
    "systemd/system/nib-nftables.service"
    "systemd/system/systemd-networkd-wait-online.service.d/05-nib.conf"
  ];

  # nib-gen runs where the system is built, also where it is built for another machine.
  build =
    if pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform then
      pkgs // { nib = cfg.package; }
    else
      pkgs.buildPackages
      // {
        nib = pkgs.buildPackages.nib or (pkgs.buildPackages.callPackage ./package.nix { });
      };

  nft = getExe' pkgs.nftables "nft";

  rendered =
    pkgs.runCommand "nib-rendered"
      {
        preferLocalBuild = true;
        expected = concatStringsSep "\n" (linked ++ units);
      }
      ''
        mkdir -p "$out/etc/nib/nft.d"
        ${concatStringsSep "\n" (
          map (name: ''
            cp ${pkgs.writeText "nib-${name}.nft" cfg.nftables.fragments.${name}} "$out/etc/nib/nft.d/${name}.nft"
          '') (attrNames cfg.nftables.fragments)
        )}
        ${getExe' build.nib "nib-gen"} ${cfg.configFile} --out "$out/etc" --etc "$out/etc" \
          --systemd ${builtins.head (builtins.splitVersion config.systemd.package.version)} \
          --program nft=${nft} \
          --program ip=${getExe' pkgs.iproute2 "ip"} \
          --program systemd-sysusers=${config.systemd.package}/bin/systemd-sysusers \
          --program nib-monitor=${getExe' cfg.package "nib-monitor"} \
          --program nib-notify=${getExe' cfg.package "nib-notify"} \
          --program nib-history=${getExe' cfg.package "nib-history"} \
          --program nib-metrics=${getExe' cfg.package "nib-metrics"} \
          --program nib-mail=${getExe' cfg.package "nib-mail"} \
          --program sendmail=/run/wrappers/bin/sendmail \
          --program setpriv=${getExe' pkgs.util-linux "setpriv"} \
          --program systemd-networkd-wait-online=${config.systemd.package}/lib/systemd/systemd-networkd-wait-online

        actual=$(cd "$out/etc" && find . -type f -not -path './nib/nft.d/*' -printf '%P\n' | sort)
        if [ "$actual" != "$(printf '%s\n' "$expected" | sort)" ]; then
          echo "nib-gen wrote other files than nix/module.nix expects; expected:" >&2
          printf '%s\n' "$expected" | sort >&2
          printf 'written:\n%s\n' "$actual" >&2
          exit 1
        fi
        ${if cfg.nftables.check then loadForReal else ""}
      '';

  # Twice, as a reload would, and what a stop leaves. A sandbox without namespaces, or a kernel
  # without nftables, cannot say anything; and it does not know the users of the router.
  loadForReal = ''
    private() { ${getExe' build.util-linux "unshare"} -rn "$@"; }
    if private ${getExe' build.nftables "nft"} list tables >/dev/null 2>&1; then
      for text in nib nib stopped nib; do
        sed 's/meta skuid "[^"]*"/meta skuid 0/' "$out/etc/nib/$text.nft" >> trial.nft
      done
      private ${getExe' build.nftables "nft"} -f trial.nft || {
        echo "nft refuses the table; without this trial: services.nib.nftables.check = false" >&2
        exit 1
      }
    else
      echo "nib: no private network here, so the table was not tried out"
    fi
  '';

  # The only units that are taken as nib-gen wrote them.
  monitorUnit = pkgs.runCommand "nib-monitor-unit" { preferLocalBuild = true; } ''
    mkdir -p "$out/lib/systemd/system"
    for unit in ${concatStringsSep " " monitorUnits}; do
      ln -s ${rendered}/etc/systemd/system/$unit "$out/lib/systemd/system/"
    done
  '';

  # -- what is run when uplinks come and go --------------------------------------------------------

  hookTimes = {
    up = "when an uplink is up again";
    down = "when an uplink goes down";
    long_down = "when an uplink has been down for `settings.notify.long_down`";
  };

  hooks = concatMap (
    when:
    map (name: {
      name = "nib/hooks/${when}.d/${name}";
      value.source = pkgs.writeShellScript "nib-${when}-${name}" cfg.hooks.${when}.${name};
    }) (attrNames cfg.hooks.${when})
  ) (attrNames hookTimes);

  # -- what is in the way --------------------------------------------------------------------------

  words = value: if isList value then value else filter isString (builtins.split " +" value);

  # For each device the names of the user's files that are for it.
  clashes = concatMap (
    name:
    let
      network = config.systemd.network.networks.${name};
      wanted = words (network.matchConfig.Name or "");
    in
    map (device: { inherit name device; }) (
      # "40-" is NixOS's own file for networking.interfaces: later than nib's, and looked at below.
      filter (device: elem device wanted && network.enable && name != "40-${device}") devices
    )
  ) (attrNames config.systemd.network.networks);

  scripted = filter (
    device:
    let
      interface = config.networking.interfaces.${device};
    in
    config.networking.interfaces ? ${device}
    && (
      interface.useDHCP == true || interface.ipv4.addresses != [ ] || interface.ipv6.addresses != [ ]
    )
  ) devices;

  managed = filter (
    device:
    !(elem device config.networking.networkmanager.unmanaged)
    && !(elem "interface-name:${device}" config.networking.networkmanager.unmanaged)
  ) (devices ++ map (it: it.device) adopted);

  quoted = names: concatStringsSep " " (map (name: "\"${name}\"") names);
in
{
  options.services.nib = {
    enable = mkEnableOption "nib, balancing and failover over several internet providers";

    package = mkOption {
      type = types.package;
      default = pkgs.nib or (pkgs.callPackage ./package.nix { });
      defaultText = literalExpression "pkgs.nib";
      description = "The package of nib: it compiles the settings and has the monitor.";
    };

    settings = mkOption {
      description = ''
        What {file}`balance.yaml` says, as Nix. nib checks and compiles it while the system is
        built, so a mistake stops the build with nib's own message. It ends up readable for everybody
        in the Nix store.
      '';
      example = literalExpression ''
        {
          uplinks = {
            cable = { device = "wan1"; address = "dhcp"; weight = 3; };
            dsl = { device = "wan2"; address = "dhcp"; };
          };
          lans.home = { device = "lan1"; address = "192.168.10.1/24"; };
        }
      '';
      default = { };
      type = types.submodule (
        import ./settings.nix {
          inherit lib;
          freeform = format.type;
        }
      );
    };

    configFile = mkOption {
      type = types.path;
      readOnly = true;
      default = format.generate "balance.json" (given settings);
      defaultText = literalExpression "generated from services.nib.settings";
      description = "The settings as nib reads them: JSON, which is YAML too.";
    };

    rendered = mkOption {
      type = types.package;
      readOnly = true;
      default = rendered;
      defaultText = literalExpression "built from services.nib.settings";
      description = ''
        What nib-gen wrote, to look at without switching:
        {command}`nix build .#nixosConfigurations.router.config.services.nib.rendered`.
      '';
    };

    nftables = {
      enable = mkOption {
        type = types.bool;
        default = true;
        example = false;
        description = ''
          Whether to load the table `inet nib`, which holds balancing, NAT and firewall. It is loaded
          by a unit of its own, with {option}`networking.nftables` and without.
        '';
      };

      check = mkOption {
        type = types.bool;
        default = true;
        example = false;
        description = ''
          Whether to load the table for real while the system is built, in a private network namespace.
          Where the build has none it is left out. A table of more than some 200 kB, from dozens of
          uplinks, is too much for a namespace without privilege: then turn this off.
        '';
      };

      fragments = mkOption {
        type = types.attrsOf types.lines;
        default = { };
        example = literalExpression ''
          { printer = '''add rule inet nib user_forward iifname "lan2" ip daddr 192.168.10.9 drop'''; }
        '';
        description = ''
          Rules of your own by name, in the order of the names, in the chains `user_prerouting`,
          `user_input`, `user_forward`, `user_output` and `user_postrouting` of nib's table. They are
          loaded and tried out with it.
        '';
      };
    };

    hooks = mapAttrs (
      when: what:
      mkOption {
        type = types.attrsOf types.lines;
        default = { };
        example = literalExpression ''
          { "50-note" = '''echo "$NIB_UPLINK: $NIB_REASON" >> "$STATE_DIRECTORY/log"'''; }
        '';
        description = ''
          Shell scripts by name, run in the order of the names ${what}, by
          {file}`nib-notify.service`: without privileges, with a time limit
          (`settings.hooks.timeout`), and told of the uplink in `NIB_*` variables.
          What they call is found in {option}`systemd.services.nib-notify.path`.
        '';
      }
    ) hookTimes;

    monitor.enable = mkOption {
      type = types.bool;
      default = cfg.nftables.enable;
      defaultText = literalExpression "config.services.nib.nftables.enable";
      example = false;
      description = "Whether to probe the uplinks, and move new connections away from dead ones.";
    };
  };

  config = mkIf cfg.enable (mkMerge [
    {
      assertions = [
        {
          assertion = cfg.monitor.enable -> cfg.nftables.enable;
          message = "services.nib.monitor needs the table: set services.nib.nftables.enable, or services.nib.monitor.enable = false.";
        }
        {
          assertion = hooks != [ ] -> cfg.monitor.enable;
          message = "services.nib.hooks are run when the monitor sees a change: set services.nib.monitor.enable, or leave them out.";
        }
        {
          assertion = config.networking.networkmanager.enable -> managed == [ ];
          message = "services.nib: NetworkManager manages devices of nib's. Add networking.networkmanager.unmanaged = [ ${quoted managed} ];";
        }
        {
          assertion = scripted == [ ];
          message = "services.nib: networking.interfaces configures devices that nib configures too: ${concatStringsSep ", " scripted}. Say their addresses in services.nib.settings alone.";
        }
        {
          assertion =
            config.networking.defaultGateway == null && config.networking.defaultGateway6 == null;
          message = "services.nib: networking.defaultGateway would win over every uplink. Say it as services.nib.settings.uplinks.<name>.gateway.";
        }
        {
          assertion =
            config.networking.firewall.enable
            -> !(elem config.networking.firewall.checkReversePath [
              true
              "strict"
            ]);
          message = "services.nib: networking.firewall.checkReversePath = \"strict\" drops what comes in by any uplink but one. Use \"loose\" or false; nib checks by itself where a source can come from.";
        }
      ]
      ++ map (clash: {
        assertion = false;
        message = "services.nib: systemd.network.networks.\"${clash.name}\" is for ${clash.device}, which nib configures; systemd-networkd takes one file for a device. Remove it, or move what it says to services.nib.settings.";
      }) clashes;

      environment.systemPackages = [ cfg.package ];
      environment.etc = listToAttrs (
        map (path: {
          name = path;
          value.source = "${rendered}/etc/${path}";
        }) linked
        ++ hooks
      );

      systemd.network.enable = true;
      # The router is online when one uplink is.
      systemd.network.wait-online.anyInterface = mkDefault true;
      systemd.services.systemd-networkd = {
        # .network files are read again by a reload ...
        reloadTriggers = [ rendered ];
        # ... networkd.conf is not; it changes with nib, not with the settings.
        restartTriggers = [ cfg.package ];
      };
      systemd.services.systemd-sysctl.restartTriggers = [ rendered ];

      # Without networking.useNetworkd, dhcpcd would take every device.
      networking.dhcpcd.denyInterfaces = devices ++ map (it: it.device) adopted;
      # Weaker than mkDefault, which firewall-iptables.nix uses for kernels without the check.
      networking.firewall.checkReversePath = mkOverride 1100 "loose";
    }

    # Not networking.nftables.tables, which deletes and makes anew: that breaks connections.
    #
    # nib's own unit comes before sysinit.target and after nftables.service, which NixOS starts after
    # sysinit.target: this one comes later. No link is up before network-pre.target.
    (mkIf cfg.nftables.enable {
      systemd.services.nib-nftables = {
        description = "nib: firewall, balancing and NAT for the uplinks";
        wantedBy = [ "multi-user.target" ];
        wants = [ "network-pre.target" ];
        after = [
          "local-fs.target"
          "systemd-modules-load.service"
          # it may flush all tables when it starts
          "nftables.service"
        ];
        before = [
          "network-pre.target"
          "shutdown.target"
        ];
        conflicts = [ "shutdown.target" ];
        reloadIfChanged = true;
        unitConfig = {
          DefaultDependencies = false;
          StartLimitIntervalSec = 0;
        };
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${nft} -f ${rendered}/etc/nib/nib.nft";
          ExecReload = "${nft} -f ${rendered}/etc/nib/nib.nft";
          # also after a failed start, for instance one without a mount namespace: never open
          ExecStopPost = "+${nft} -f ${rendered}/etc/nib/stopped.nft";
          CapabilityBoundingSet = "CAP_NET_ADMIN";
          DevicePolicy = "closed";
          IPAddressDeny = "any";
          LockPersonality = true;
          MemoryDenyWriteExecute = true;
          NoNewPrivileges = true;
          PrivateDevices = true;
          PrivateMounts = true;
          ProcSubset = "pid";
          ProtectClock = true;
          ProtectControlGroups = true;
          ProtectHome = true;
          ProtectHostname = true;
          ProtectKernelLogs = true;
          ProtectKernelModules = true;
          ProtectKernelTunables = true;
          ProtectProc = "invisible";
          ProtectSystem = "strict";
          RestrictAddressFamilies = "AF_NETLINK AF_UNIX";
          RestrictNamespaces = true;
          RestrictRealtime = true;
          RestrictSUIDSGID = true;
          SystemCallArchitectures = "native";
          SystemCallFilter = [
            "@system-service"
            "~@privileged @resources"
          ];
          SystemCallErrorNumber = "EPERM";
          UMask = "0077";
        };
      };
    })

    (mkIf cfg.monitor.enable {
      systemd.packages = [ monitorUnit ];
      # who may ask it
      users.groups.nib = { };
      # whom sendmail is run as
      users.users = mkIf mail {
        nib-mail = {
          isSystemUser = true;
          group = "nib-mail";
        };
      };
      users.groups.nib-mail = mkIf mail { };
      # NixOS does not read [Install].
      systemd.services.nib-monitor = {
        wantedBy = [ "multi-user.target" ];
        # It is away for a moment only, and not while the system is switched.
        stopIfChanged = false;
      };
      systemd.services.nib-notify.wantedBy = [ "multi-user.target" ];
      systemd.services.nib-history.wantedBy = [ "multi-user.target" ];
    })
  ]);
}

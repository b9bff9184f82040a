# a nib that names its files otherwise
{ pkgs, ... }:
{
  services.nib = {
    enable = true;
    package = pkgs.runCommand "nib-other" { } ''
      mkdir -p "$out/bin"
      cat > "$out/bin/nib-gen" <<END
      #!/bin/sh
      ${pkgs.nib}/bin/nib-gen "\$@"
      mv "\$3/systemd/network/05-nib-cable.network" "\$3/systemd/network/04-nib-cable.network"
      END
      chmod +x "$out/bin/nib-gen"
    '';
    settings.uplinks.cable = {
      device = "wan1";
      address = "dhcp";
    };
  };
}

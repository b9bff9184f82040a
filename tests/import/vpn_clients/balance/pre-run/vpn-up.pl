use strict;
my %tunnel = (tun0 => 'eth0', tun1 => 'eth1');
for my $t (sort keys %tunnel) {
    system("systemctl start openvpn\@$t");
    sleep 1 while !-e "/sys/class/net/$t";
}

# $B->forward(2222 => '10.9.0.5:22');
for my $net (map {$B->net($_)} $B->lan_services) {
    $B->iptables(["-A FORWARD -p udp --sport domain -d $net -j ACCEPT",
                  "-A FORWARD -p udp --sport ntp -d $net -j ACCEPT"]);
}

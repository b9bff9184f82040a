$B->iptables("-I INPUT -p $_ --dport 1194 -j ACCEPT") foreach ('udp','tcp');
$B->iptables('-I INPUT  -i tun0 -j ACCEPT');
$B->iptables('-I OUTPUT -o tun0 -j ACCEPT');
foreach my $lan ($B->lan_services) {
    $B->iptables('-I FORWARD -i tun0 -o', $B->dev($lan), '-j ACCEPT');
    $B->iptables('-I FORWARD -o tun0 -i', $B->dev($lan), '-j ACCEPT');
}
$B->iptables('-I INPUT -i tun1 -j ACCEPT');
$B->iptables('-I FORWARD -i tun1 -o lan1 -j ACCEPT');

# ssh from inside
$B->iptables("-A INPUT -s", $B->net($_), "-p tcp --syn --dport ssh -j ACCEPT") foreach $B->lan_services;
#$B->iptables('-A INPUT -p tcp --dport ssh -j ACCEPT');

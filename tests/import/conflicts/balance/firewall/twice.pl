$B->forward(443 => '10.9.0.20');
$B->forward(443 => '10.9.0.21');
$B->forward(22 => '10.9.0.22');
$B->firewall_rule(INPUT=>undef, -p=>'tcp', -dport=>22, -j=>'ACCEPT');
$B->firewall_op('delete');
$B->firewall_rule(INPUT=>undef, -p=>'tcp', -dport=>23, -j=>'ACCEPT');

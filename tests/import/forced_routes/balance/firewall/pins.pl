# the mail relay of NORTH takes mail from NORTH alone
$B->force_route('NORTH', '-p'=>'tcp', '--syn', '--dport'=>25);
$B->force_route('NORTH', -p=>'tcp', -syn, -dport=>587);
$B->force_route('wan1', '-p udp -m multiport --dports 5060,10000:20000');
$B->force_route('SOUTH', '-s', '10.9.0.64/28');
$B->force_route('SOUTH', '-i lan0 -d 203.0.113.7');
$B->force_route('SOUTH', '-m dscp --dscp-class EF');
$B->force_route('SOUTH', '-m mac --mac-source 02:00:00:00:00:01');
$B->force_route('OFFICE', '-p tcp');
$B->force_route('NORTH');
iptables_is_no_function();

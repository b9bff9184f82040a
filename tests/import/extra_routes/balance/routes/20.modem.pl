$B->add_route('192.168.100.1/32' => 'wan1', 1);
$B->add_route('192.168.101.0/24' => 'wan9', 1);
$B->ip_route('add 10.60.0.0/16 via 10.9.0.251');
$B->sh('logger routes are there');

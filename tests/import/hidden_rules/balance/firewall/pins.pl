# the second one marked over the first one
$B->force_route('NORTH', '-p tcp --dport 25');
$B->force_route('SOUTH', '-p tcp');

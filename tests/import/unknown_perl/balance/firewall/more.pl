my $turn = '10.9.0.9';
foreach my $port (1001, 1002) {
    $B->forward($port => $turn);
    $turn = '10.9.0.10';
}
$B->forward(1003 => $turn);
print <<END;
$B->forward(1004 => '10.9.0.11');
END
sub open_it {
    $B->forward(1005 => '10.9.0.12');
}
{
    local $B->{firewall_op} = 'delete';
    $B->force_route('NORTH', '-p tcp --dport 1006');
}
eval { $B->forward(1007 => '10.9.0.13') };
$B->forward(1008 => '10.9.0.14');

package Mine;
use strict;
=pod

$B->forward(1 => '10.9.0.1');

=cut
my ($a, $b) = split /;/, `cat /etc/list`;
if ($a) { $B->forward(80 => $a); } else { $B->forward(80 => '10.9.0.2'); }
$B->forward(81 => "10.9.0.$a");
my $host = '10.9.0.3';
$host =~ s/3/4/;
$B->forward(82 => $host);
$B->forward(83 => '10.9.0.' . '5');
$B->forward($_ => '10.9.0.6') if -e '/etc/flag';
$B->forward($_ => '10.9.0.7') foreach qw(84 85);
print STDERR $B->status;
open my $fh, '<', "don't";
__END__
$B->forward(86 => '10.9.0.8');

"""All the askers of one family of an uplink: a target goes to that of its kind."""

from nib.monitor.askers import command, dns, http, tcp
from nib.monitor.askers.icmp import Icmp
from nib.monitor.askers.neighbour import Neighbours
from nib.monitor.askers.talks import Talks
from nib.monitor.askers.way import Heard, Way
from nib.targets import Command, Connect, Fetch, Neighbour, Ping, Query, Target

# Questions to one target that are out at the same time.  Programs cost more than packets: one
# may run that is missed already, and one of the burst that follows.
MOST = 32
MOST_PROGRAMS = 2


class Askers:
    """Asks; answers are told to `heard`.  `place` tells the askers of one process apart."""

    def __init__(self, way: Way, place: int, heard: Heard) -> None:
        targets = way.uplink.targets_of(way.family)
        pings = [target for target in targets if isinstance(target, Ping)]
        self._icmp = Icmp(way, pings, place, heard)
        self._neighbours = Neighbours(way, heard)
        self._tcp = Talks(way, tcp.ask, heard, MOST)
        self._dns = Talks(way, dns.ask, heard, MOST)
        self._http = Talks(way, http.ask, heard, MOST)
        self._commands = Talks(way, command.ask, heard, MOST_PROGRAMS)

    def ask(self, target: Target, number: int) -> None:
        """Ask it; the answer, if there is one, has this number of 16 bits.

        Raises PermissionError without CAP_NET_RAW.
        """
        match target:
            case Ping():
                self._icmp.ask(target, number)
            case Neighbour():
                self._neighbours.ask(target, number)
            case Connect():
                self._tcp.ask(target, number)
            case Query():
                self._dns.ask(target, number)
            case Fetch():
                self._http.ask(target, number)
            case Command():
                self._commands.ask(target, number)

    def listen(self, *, at_once: bool) -> None:
        """Tell of answers when they come in.  Else those to packets of ours wait to be gathered."""
        self._icmp.listen(at_once=at_once)
        self._neighbours.listen(at_once=at_once)

    def gather(self) -> None:
        """Tell of the answers that have come in."""
        self._icmp.gather()
        self._neighbours.gather()

    def close(self) -> None:
        """End all of them."""
        for asker in (
            self._icmp,
            self._neighbours,
            self._tcp,
            self._dns,
            self._http,
            self._commands,
        ):
            asker.close()

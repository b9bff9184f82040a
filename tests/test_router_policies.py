"""Rules send flows to policies; a policy that blocks lets nothing out by another uplink."""

import time
from collections.abc import Callable, Mapping

import pytest

from lab.errors import eventually
from lab.hosts import INTERNET, INTERNET6, PUBLIC6, TARGETS
from lab.isp import Isp, Provider
from lab.traffic import How, connections, flow, fresh
from nib_lab import DUAL, DUAL_ISPS, FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

LTE = "  lte: {device: wan3, address: dhcp, weight: 0}\nlans:"
THREE = HOME.replace(", weight: 3", "").replace("lans:", LTE)
THREE_ISPS = (Isp(), Isp("static"), Isp())
EVEN = {"isp1", "isp2"}

RULES = f"""\
  guests: {{device: lan2, address: 192.168.20.1/24}}
sets:
  phones: [192.168.10.64/28]
rules:
  - {{match: {{user: backup}}, use: lte}}
  - {{match: {{lan: guests}}, use: lte}}
  - {{match: {{source: "@phones"}}, use: dsl}}
  - {{match: {{protocol: [tcp, sctp], dport: 443}}, use: cable}}
  - {{match: {{protocol: udp, dport: [443, 10000-20000]}}, use: dsl}}
  - {{match: {{destination: [{TARGETS[0]}, 198.18.0.0/15]}}, use: dsl}}
  - {{match: {{dscp: ef, protocol: udp}}, use: lte}}
"""


def test_rules_choose_the_uplink(routers: Routers) -> None:
    lab = routers(THREE + RULES + FAST, THREE_ISPS, 2)
    lab.start()
    client, guest = lab.lans
    phone = How(source=client.add_address(66))
    expedited, backup = How(tos=0xB8), How(uid=34)
    for node in (client, lab.router):
        assert lab.by_isp(connections(node, 40, port=443)) == {"isp1": 40}
        assert lab.by_isp(connections(node, 40, dst=TARGETS[0])) == {"isp2": 40}
        # to another host than the rest below: the same port again would be the same flow
        called = connections(node, 40, "udp", how=expedited, dst=TARGETS[1])
        assert lab.by_isp(called) == {"isp3": 40}
        # what no rule names
        assert set(lab.by_isp(connections(node, 60, dst=TARGETS[1]))) == EVEN
        assert set(lab.by_isp(connections(node, 60, "udp"))) == EVEN
    assert lab.by_isp(connections(client, 40, how=phone)) == {"isp2": 40}
    assert lab.by_isp(connections(client, 40, how=phone, port=443)) == {"isp2": 40}
    assert lab.by_isp(connections(guest, 40)) == {"isp3": 40}
    assert lab.by_isp(connections(lab.router, 40, how=backup)) == {"isp3": 40}
    # an uplink that died: the flows go where the others go
    lab.isps[2].fail()
    lab.until(lte="down")
    assert set(lab.by_isp(connections(guest, 60))) == EVEN
    assert set(lab.by_isp(connections(lab.router, 60, how=backup))) == EVEN
    # the rules are about ways out, not about neighbours
    guest.run(f"ping -c 1 -W 1 {client.address}")
    lab.isps[2].restore()
    lab.until(lte="up")
    assert lab.by_isp(connections(guest, 40)) == {"isp3": 40}


JOINED = """\
  guests: {device: lan2, address: 192.168.20.1/24}
rules:
  - {match: {lan: home, protocol: tcp, dport: [443, 8070-8079]}, use: lte}
  - {match: {lan: home, protocol: tcp, dport: 8080-8090}, use: dsl}
  - {match: {lan: guests, protocol: udp, dport: 8081}, use: cable}
  - {match: {lan: guests, protocol: tcp, dport: 1-442}, use: dsl}
  - {match: {lan: guests, protocol: tcp, dport: 443-65535}, use: cable}
  - {match: {source: 192.168.10.0/27, destination: 203.0.113.0-203.0.113.54}, use: dsl}
  - {match: {source: 192.168.10.64/28, destination: 203.0.113.10}, use: cable}
  - {match: {source: 192.168.10.80-192.168.10.90, destination: 203.0.113.10}, use: lte}
"""


def test_neighbours_that_ask_for_the_same_things_are_one_look_up(routers: Routers) -> None:
    lab = routers(THREE + JOINED + FAST, THREE_ISPS, 2)
    lab.start()
    client, guest = lab.lans
    others = {
        How(source=client.add_address(79)): "isp1",
        How(source=client.add_address(80)): "isp3",
    }
    chain = lab.router.run("nft list chain inet nib rules4")
    assert chain.count("iifname . meta l4proto . th dport vmap") == 1
    assert chain.count("ip saddr . ip daddr vmap") == 1
    assert lab.by_isp(connections(client, 30, port=443)) == {"isp3": 30}
    assert lab.by_isp(connections(client, 30)) == {"isp2": 30}
    assert lab.by_isp(connections(guest, 30, "udp")) == {"isp1": 30}
    assert lab.by_isp(connections(guest, 30)) == {"isp1": 30}
    for how, isp in others.items():
        assert lab.by_isp(connections(client, 30, "udp", how=how)) == {isp: 30}
    assert lab.by_isp(connections(client, 30, "udp")) == {"isp2": 30}
    # what no rule names
    assert set(lab.by_isp(connections(client, 60, "udp", dst=TARGETS[2]))) == EVEN


def test_a_policy_has_tiers_of_its_own(routers: Routers) -> None:
    policies = f"""\
policies:
  calls: {{tiers: [[lte], [dsl]]}}
rules:
  - {{match: {{destination: {TARGETS[0]}}}, use: calls}}
"""
    lab = routers(THREE + policies + FAST, THREE_ISPS)
    lab.start()
    for node in (lab.lans[0], lab.router):
        assert lab.by_isp(connections(node, 40, dst=TARGETS[0])) == {"isp3": 40}
    call = flow(lab.lans[0], "udp", dst=TARGETS[0])
    lab.isps[2].fail()
    lab.until(lte="down")
    for node in (lab.lans[0], lab.router):
        assert lab.by_isp(connections(node, 40, dst=TARGETS[0])) == {"isp2": 40}
    eventually(lambda: lab.isp_of(call.so_far().seen[-1]) is lab.isps[1], 5)
    lab.isps[1].fail()
    lab.until(dsl="down")
    assert lab.by_isp(connections(lab.lans[0], 40, dst=TARGETS[0])) == {"isp1": 40}


STRICT = f"""\
policies:
  strict: {{tiers: [[cable]], when_down: block}}
rules:
  - {{match: {{destination: [{TARGETS[0]}, "{PUBLIC6[1]}"]}}, use: strict}}
"""

Act = Callable[[Provider], None]
CUTS: dict[str, Act] = {"silent": lambda isp: isp.fail(), "carrier": lambda isp: isp.unplug()}


def watch(isp: Provider, *addresses: str) -> Callable[[], int]:
    """Count what the router sends to these addresses; the probes' pings are no flow of a policy."""
    rules = "".join(
        f"add rule inet watch seen {'ip6' if ':' in to else 'ip'} daddr {to} "
        "meta l4proto { tcp, udp } counter\n"
        for to in addresses
    )
    isp.run(
        "nft -f -",
        stdin="add table inet watch\nadd chain inet watch seen "
        "{ type filter hook prerouting priority -300; }\n" + rules,
    )

    def packets() -> int:
        listed = isp.run("nft list chain inet watch seen").split("packets ")[1:]
        return sum(int(part.split()[0]) for part in listed)

    return packets


def through(lab: NibLab, seen: Mapping[str, int]) -> set[str]:
    """The providers that any connection came through."""
    return {isp.name for isp in map(lab.isp_of, seen) if isp}


def leaves_nothing(
    lab: NibLab, cut: Act, to: str, down: Callable[[], object], *, told: bool = True
) -> None:
    """Cut the only uplink of a policy under load; count at the other one.

    `told`: TCP is refused at once.  (The kernel alone says so as well, but only once a second.)
    """
    client, router = lab.lans[0], lab.router
    own, others = watch(lab.isps[0], to), watch(lab.isps[1], to)
    for node in (client, router):
        assert lab.by_isp(connections(node, 20, dst=to)) == {"isp1": 20}
    running = [
        flow(node, kind, dst=to, reconnect=kind == "tcp", stall=1)
        for node in (client, router)
        for kind in ("tcp", "udp", "udp")
    ]
    streams = [
        fresh(node, 0.01, proto, dst=to) for node in (client, router) for proto in ("tcp", "udp")
    ]
    cut(lab.isps[0])
    down()
    time.sleep(0.5)
    for node in (client, router):
        for proto in ("tcp", "udp"):
            begun = time.monotonic()
            seen = connections(node, 10, proto, dst=to)
            assert through(lab, seen) == set(), seen
            if proto == "tcp" and told:
                assert "timeout" not in seen and time.monotonic() - begun < 2, (node, seen)
    # the others go on, and are not held for part of it
    elsewhere = INTERNET6 if ":" in to else INTERNET
    for node in (client, router):
        assert lab.by_isp(connections(node, 20, dst=elsewhere)) == {"isp2": 20}
    client.run("ping -c 1 -W 1 192.168.10.1")
    for recording in (*running, *streams):
        recording.stop()
    assert own() > 0
    assert others() == 0


@pytest.mark.parametrize("kind", CUTS)
def test_what_must_block_leaves_by_no_other_uplink(routers: Routers, kind: str) -> None:
    lab = routers(HOME.replace(", weight: 3", "") + STRICT.replace(f', "{PUBLIC6[1]}"', "") + FAST)
    lab.start()
    leaves_nothing(lab, CUTS[kind], TARGETS[0], lambda: lab.until(cable="down"))
    (lab.isps[0].restore if kind == "silent" else lab.isps[0].plug)()
    lab.until(cable="up", within=20)
    for node in (lab.lans[0], lab.router):
        assert lab.by_isp(connections(node, 40, dst=TARGETS[0])) == {"isp1": 40}
    # a reload of everything while it is blocked opens nothing
    others = watch(lab.isps[1], TARGETS[0])
    lab.isps[0].unplug()
    lab.until(cable="down")
    stream = fresh(lab.lans[0], 0.005, dst=TARGETS[0])
    lab.router.run(
        "systemctl reload nib-nftables; networkctl reload; systemctl restart nib-monitor"
    )
    time.sleep(1)
    assert through(lab, stream.stop().counts) == set()
    assert others() == 0


def test_what_must_block_is_blocked_without_the_monitor(routers: Routers) -> None:
    lab = routers(HOME.replace(", weight: 3", "") + STRICT.replace(f', "{PUBLIC6[1]}"', "") + FAST)
    lab.start()
    lab.router.run("systemctl stop nib-monitor")
    leaves_nothing(lab, CUTS["carrier"], TARGETS[0], lambda: time.sleep(1.5), told=False)


@pytest.mark.parametrize("kind", CUTS)
def test_what_must_block_over_ipv6(routers: Routers, kind: str) -> None:
    lab = routers(DUAL.replace(", weight: 3", "") + STRICT + FAST, DUAL_ISPS)
    lab.start()
    lab.until(family=6, cable="up", dsl="up", within=20)
    eventually(lambda: lab.lans[0].announced().startswith("fd00:10:"), 20)
    leaves_nothing(lab, CUTS[kind], PUBLIC6[1], lambda: lab.until(family=6, cable="down"))


STICKY = f"""\
policies:
  banks: {{sticky: {{by: source, for: 10s}}}}
  shops: {{sticky: {{by: pair}}, tiers: [[cable, dsl]], when_down: block}}
rules:
  - {{match: {{protocol: tcp, dport: 443}}, use: banks}}
  - {{match: {{destination: [{", ".join(TARGETS)}]}}, use: shops}}
"""


def test_who_was_here_lately_keeps_his_uplink(routers: Routers) -> None:
    lab = routers(HOME.replace(", weight: 3", "") + STICKY + FAST)
    lab.start()
    client = lab.lans[0]
    clients = [How(source=client.add_address(last)) for last in range(100, 110)]

    def banks() -> list[str]:
        """Where each client is; all of its connections have to be there."""
        places = [lab.by_isp(connections(client, 8, port=443, how=how)) for how in clients]
        assert all(len(place) == 1 for place in places), places
        return [name for place in places for name in place]

    before = banks()
    assert set(before) == EVEN
    pairs = {to: lab.by_isp(connections(client, 40, dst=to)) for to in TARGETS}
    assert all(len(place) == 1 for place in pairs.values()), pairs
    lab.router.run("systemctl reload nib-nftables; systemctl restart nib-monitor")
    assert banks() == before
    # only those of the dead one move, and they do not come back for that it does
    lab.isps[0].fail()
    lab.until(cable="down")
    assert set(banks()) == {"isp2"}
    lab.isps[0].restore()
    lab.until(cable="up")
    assert set(banks()) == {"isp2"}
    assert all(lab.by_isp(connections(client, 9, dst=to)).total() == 9 for to in TARGETS)
    # until they have been away for long enough
    time.sleep(11)
    assert banks() == before
    # the router itself is no client
    assert set(lab.by_isp(connections(lab.router, 60, port=443))) == EVEN


def test_who_was_here_lately_keeps_his_uplink_over_ipv6(routers: Routers) -> None:
    sticky = STICKY.replace(", ".join(TARGETS), f'"{PUBLIC6[1]}"')
    lab = routers(DUAL.replace(", weight: 3", "") + sticky + FAST, DUAL_ISPS)
    lab.start()
    lab.until(family=6, cable="up", dsl="up", within=20)
    client = lab.lans[0]
    eventually(lambda: client.announced().startswith("fd00:10:"), 20)
    addresses = [f"fd00:10::{last}" for last in range(100, 110)]
    client.run("\n".join(f"ip address add {one}/64 dev eth0 nodad" for one in addresses))

    def banks() -> list[str]:
        """Where each client is; all of its connections have to be there."""
        hows = [How(source=one) for one in addresses]
        each = [connections(client, 8, dst=INTERNET6, port=443, how=how) for how in hows]
        places = [lab.by_isp(seen) for seen in each]
        assert all(len(place) == 1 for place in places), places
        return [name for place in places for name in place]

    before = banks()
    assert set(before) == EVEN
    pair = lab.by_isp(connections(client, 40, dst=PUBLIC6[1]))
    assert len(pair) == 1
    lab.router.run("systemctl reload nib-nftables; systemctl restart nib-monitor")
    assert banks() == before
    # only IPv6 of one dies, and its clients move
    lab.isps[0].fail("meta nfproto ipv6")
    lab.until(family=6, cable="down")
    assert set(banks()) == {"isp2"}
    lab.isps[0].restore()
    lab.until(family=6, cable="up")
    assert set(banks()) == {"isp2"}


HOURS = """\
rules:
  - {{match: {{time: "{start}-{end}", protocol: tcp}}, use: lte}}
"""


def test_a_rule_counts_at_its_hours(routers: Routers) -> None:
    """The next full minute begins them; nobody but the monitor and the clock is involved."""
    now = time.time()
    begins = (int(now + 30) // 60 + 1) * 60
    start, end = (time.strftime("%H:%M", time.gmtime(begins + later)) for later in (0, 5 * 3600))
    lab = routers(THREE + HOURS.format(start=start, end=end) + FAST, THREE_ISPS)
    lab.start()
    lab.router.run("test $(date +%Z) = UTC")
    both = (lab.lans[0], lab.router)
    for node in both:
        assert set(lab.by_isp(connections(node, 60))) == EVEN
    early = flow(lab.lans[0], "tcp")
    time.sleep(max(0.0, begins - time.time()) + 1)
    for node in both:
        assert lab.by_isp(connections(node, 40)) == {"isp3": 40}
        assert set(lab.by_isp(connections(node, 60, "udp"))) == EVEN
    # what runs stays; a reload of the table, and another monitor, change nothing
    for act in ("reload nib-nftables", "restart nib-monitor", "stop nib-monitor"):
        lab.router.run(f"systemctl {act}")
        assert lab.by_isp(connections(lab.lans[0], 40)) == {"isp3": 40}
    assert lab.isp_of(early.stop().seen[-1]) in lab.isps[:2]
    # another time zone: there it is another hour
    lab.router.run("systemctl start nib-monitor")
    lab.router.run("ln -sf /usr/share/zoneinfo/Pacific/Honolulu /etc/localtime")
    time.sleep(60 - time.time() % 60 + 1)
    assert set(lab.by_isp(connections(lab.lans[0], 60))) == EVEN
    assert "count no more" in lab.router.journal("nib-monitor")

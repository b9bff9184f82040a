"""What the kernel has, and that we hear when it changes: with real devices, routes and rules."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import samples
from alone import alone, sh
from nib.ip_rules import MAIN, PROTOCOL, Priority, Rule, Table
from nib.monitor.events import Default, Device, Facts, NextHop, PresentRule
from nib.monitor.links import look, watch
from nib.plan import Plan

PLAN = samples.plan()
DUAL = samples.plan(samples.DUAL)
MANY = samples.plan(samples.uplinks(60))
CABLE, DSL = PLAN.uplinks

DEVICES = """
for name in wan1 wan2 lan1 foreign; do
    ip link add $name type veth peer name far_$name
    ip link set $name up; ip link set far_$name up
done
ip address add 192.0.2.2/24 dev wan1
ip address add 198.51.100.2/24 dev wan2
ip address add 192.168.10.1/24 dev lan1
ip address add 10.0.0.1/24 dev foreign
"""


def rule_text(rule: Rule) -> str:
    """The same for ip(8)."""
    words = [f"ip -{rule.family} rule add pref {rule.priority}"]
    words += [f"from {rule.source}"] if rule.source else []
    words += [f"oif {rule.oif}"] if rule.oif else []
    words += [f"iif {rule.iif}"] if rule.iif else []
    words += [f"fwmark {rule.mark}/{rule.mask}"] if rule.mark is not None else []
    elsewhere = f"goto {rule.goto}" if rule.goto else "unreachable"
    words += [f"lookup {rule.table}" if rule.table else elsewhere]
    if rule.suppress_prefixlength is not None:
        words.append(f"suppress_prefixlength {rule.suppress_prefixlength}")
    return " ".join(words)


async def looked(plan: Plan = PLAN) -> Facts:
    return await look(plan)


@alone
async def test_nothing_there() -> None:
    assert await looked() == Facts((), (), (), ())


@alone
async def test_devices() -> None:
    sh(DEVICES)
    wan1, wan2, lan1 = (await looked()).devices
    assert (wan1.name, wan1.up, wan1.carrier) == ("wan1", True, True)
    assert wan1.addresses == ((4, "192.0.2.2"),)
    assert lan1.addresses == ((4, "192.168.10.1"),)
    sh("ip address add 192.0.2.1/24 dev wan1; ip link set far_wan1 down; ip link set wan2 down")
    assert (await looked()).devices == (
        Device("wan1", wan1.index, True, False, ((4, "192.0.2.1"), (4, "192.0.2.2"))),
        Device("wan2", wan2.index, False, False, ((4, "198.51.100.2"),)),
        lan1,
    )
    sh("ip link delete wan2; ip link add wan2 type veth peer name far_wan2")
    (anew,) = (device for device in (await looked()).devices if device.name == "wan2")
    assert anew.index != wan2.index
    assert not anew.addresses


@alone
async def test_a_point_to_point_address_is_our_end_of_it() -> None:
    sh(DEVICES + "ip address flush dev wan1; ip address add 100.64.0.2 peer 100.64.0.1 dev wan1")
    wan1 = (await looked()).devices[0]
    assert wan1.addresses == ((4, "100.64.0.2"),)


@alone
async def test_which_ipv6_addresses_count() -> None:
    """Not those of the link alone, nor one that is still being checked for a duplicate."""
    sh(f"""{DEVICES}
    ip address add 2001:db8:1::2/64 dev wan1 nodad
    ip address add fe80::2/64 dev wan1 nodad
    sysctl -qw net.ipv6.conf.wan2.accept_dad=1 net.ipv6.conf.wan2.dad_transmits=100
    ip address add 2001:db8:2::2/64 dev wan2
    """)
    wan1, wan2, *_ = (await looked(DUAL)).devices
    assert wan1.addresses == ((4, "192.0.2.2"), (6, "2001:db8:1::2"))
    assert wan2.addresses == ((4, "198.51.100.2"),)
    # and whoever has none of that family in the plan hears of none
    assert (await looked()).devices[0].addresses == ((4, "192.0.2.2"),)


@alone
async def test_ipv6_defaults_and_balance() -> None:
    cable, dsl, _ = DUAL.uplinks
    sh(f"""{DEVICES}
    ip address add 2001:db8:1::2/64 dev wan1 nodad
    ip -6 route add default via fe80::1 dev wan1 metric {cable.metric} proto ra
    ip -6 route append default via fe80::9 dev wan1 metric {cable.metric} proto ra
    ip nexthop add id 77 via fe80::1 dev wan2
    ip -6 route add default nhid 77 table {dsl.table}
    ip -6 route add default table {DUAL.balance_table} \
        nexthop via fe80::1 dev wan1 weight 3 nexthop via fe80::2 dev wan2 weight 1
    """)
    facts = await looked(DUAL)
    assert set(facts.defaults) == {
        Default(6, MAIN, "wan1", "fe80::1", cable.metric, ours=False),
        Default(6, MAIN, "wan1", "fe80::9", cable.metric, ours=False),
        Default(6, dsl.table, "wan2", "fe80::1", 1024, ours=False),
    }
    assert facts.balance == ((6, (NextHop("wan1", "fe80::1", 3), NextHop("wan2", "fe80::2", 1))),)


@alone
async def test_defaults_ours_and_theirs() -> None:
    sh(f"""{DEVICES}
    ip route add default via 192.0.2.1 dev wan1 metric {CABLE.metric} proto dhcp
    ip route add default via 192.0.2.1 dev wan1 metric {CABLE.metric} proto {PROTOCOL} \
        table {CABLE.table}
    ip route add default dev wan2 table {DSL.table}
    ip route add default via 10.0.0.9 dev foreign metric 7
    ip route add 203.0.113.0/24 via 192.0.2.1
    ip route add default via 192.0.2.1 table 99
    ip route append unreachable default metric 4000
    """)
    facts = await looked()
    assert set(facts.defaults) == {
        Default(4, MAIN, "wan1", "192.0.2.1", CABLE.metric, ours=False),
        Default(4, CABLE.table, "wan1", "192.0.2.1", CABLE.metric, ours=True),
        Default(4, DSL.table, "wan2", None, 0, ours=False),
    }
    assert facts.balance == ()


@alone
async def test_balance_with_weights() -> None:
    sh(f"""{DEVICES}
    ip route add default table {PLAN.balance_table} \
        nexthop via 192.0.2.1 dev wan1 weight 256 nexthop dev wan2 weight 1
    ip route append default via 198.51.100.1 table {PLAN.balance_table} metric 9
    """)
    assert (await looked()).balance == (
        (4, (NextHop("wan1", "192.0.2.1", 256), NextHop("wan2", None, 1))),
    )
    sh(f"ip route replace default via 192.0.2.1 dev wan1 table {PLAN.balance_table}")
    assert (await looked()).balance == ((4, (NextHop("wan1", "192.0.2.1", 1),)),)


@alone
async def test_every_rule_of_the_plan_is_known_again() -> None:
    """Guards `from`, `oif` of a device that is not there, suppressed main, `goto` of none yet."""
    for plan in (DUAL, MANY):
        sh("ip rule flush; ip -6 rule flush\n" + "\n".join(map(rule_text, plan.rules)))
        assert set((await looked(plan)).rules) == {PresentRule(rule, False) for rule in plan.rules}
    sh("ip rule flush; ip -6 rule flush\n" + "\n".join(map(rule_text, DUAL.rules)))
    sh("".join(f"{rule_text(rule)} protocol {PROTOCOL}\n" for rule in DUAL.rules))
    facts = await looked(DUAL)
    assert {entry.rule for entry in facts.rules if entry.ours} == set(DUAL.rules)
    assert len(facts.rules) == 2 * len(DUAL.rules)


@alone
async def test_rules_that_only_look_like_ours() -> None:
    mark, mask = CABLE.mark, PLAN.marks.id_mask
    priority = next(rule.priority for rule in PLAN.rules if rule.mark == mark)
    table = CABLE.table
    marked = f"fwmark {mark}/{mask}"
    for rule in (
        f"pref {priority} fwmark {mark} lookup {table}",
        f"pref {priority + 1} {marked} lookup {table}",
        f"pref {priority} {marked} lookup {table + 1}",
        f"pref {priority} {marked} from 10.0.0.0/8 lookup {table}",
        f"pref {priority} {marked} to 10.0.0.0/8 lookup {table}",
        f"pref {priority} {marked} iif lo lookup {table}",
        f"not pref {priority} {marked} lookup {table}",
        f"pref {priority} {marked} prohibit",
        "pref 30000 lookup main",
        "pref 30000 lookup main suppress_prefixlength 1",
    ):
        sh(f"ip rule add {rule}")
        assert (await looked()).rules == (), rule
        sh(f"ip rule delete {rule}")


@alone
async def test_a_rule_that_a_monitor_with_another_plan_left() -> None:
    sh(f"ip rule add pref 30999 fwmark 0x5/0x7f oif gone lookup 7063 protocol {PROTOCOL}")
    left = Rule(4, Priority(30999), "", table=Table(7063), oif="gone", mark=5, mask=0x7F)
    assert (await looked()).rules == (PresentRule(left, ours=True),)


@alone
async def test_rules_of_addresses_that_the_plan_does_not_know() -> None:
    """Whoever made them; one that only has the same priority is nobody's."""
    priority, table = CABLE.address_priority, CABLE.table
    leased = Rule(4, priority, "", table=table, source="192.0.2.2")
    sh(f"{rule_text(leased)}; ip rule add pref {priority} iif lan1 lookup {table}")
    assert (await looked()).rules == (PresentRule(leased, ours=False),)
    sh(f"ip rule delete pref {priority} from 192.0.2.2")
    sh(f"{rule_text(leased)} protocol {PROTOCOL}")
    assert (await looked()).rules == (PresentRule(leased, ours=True),)


class Calls:
    """Looks when `watch` says so, and tells that it did."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.heard = asyncio.Event()

    async def __call__(self) -> Facts:
        facts = await look(self.plan)
        self.heard.set()
        return facts

    async def after(self, change: str, within: float) -> bool:
        """Is there a call within that time of a change?"""
        self.heard.clear()
        sh(change)
        with suppress(TimeoutError):
            return await asyncio.wait_for(self.heard.wait(), within)
        return False


@asynccontextmanager
async def watching(plan: Plan = PLAN) -> AsyncIterator[Calls]:
    calls = Calls(plan)
    task: asyncio.Task[Any] = asyncio.create_task(watch(plan, calls))
    await asyncio.wait_for(calls.heard.wait(), 5)
    try:
        yield calls
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


OURS = [
    "ip link set far_wan1 down",
    "ip link set far_wan1 up",
    "ip link set lan1 down",
    "ip link set lan1 up",
    "ip address add 192.0.2.7/24 dev wan1",
    "ip address delete 192.0.2.7/24 dev wan1",
    "ip route add default via 192.0.2.1 dev wan1 metric 1001",
    "ip route delete default",
    f"ip route add default via 192.0.2.1 table {CABLE.table}",
    f"ip route flush table {CABLE.table}",
    f"ip route add default via 192.0.2.1 table {PLAN.balance_table}",
    "ip rule add pref 30500 lookup 7000",
    "ip rule flush",
    "ip link set wan1 down; ip link set wan1 name renamed",
    "ip link set renamed name wan1",
    "ip link delete wan2",
    "ip link add wan2 type veth peer name far_wan2",
]

FOREIGN = [
    "ip link set far_foreign down",
    "ip link set foreign mtu 1400; ip address flush dev foreign",
    "ip link set foreign name strange",
    "ip route add 203.0.113.0/24 via 192.0.2.1; ip route add default via 192.0.2.1 table 99",
    "ip link delete strange; ip link add foreign type veth peer name far_foreign",
]


@alone
async def test_what_is_ours_is_heard_of_at_once() -> None:
    sh(DEVICES)
    async with watching() as calls:
        for change in OURS:
            assert await calls.after(change, within=2), change


OURS6 = [
    "ip address add 2001:db8:1::7/64 dev wan1 nodad",
    "ip -6 route add default via fe80::1 dev wan1 metric 1001",
    f"ip -6 route add default via fe80::1 dev wan1 table {DUAL.balance_table}",
    f"ip -6 route flush table {DUAL.balance_table}",
    "ip -6 rule add pref 30500 lookup 7000",
    "ip -6 rule del pref 30500",
]


@alone
async def test_what_is_ours_of_ipv6_is_heard_of_at_once() -> None:
    sh(DEVICES)
    async with watching(DUAL) as calls:
        while await calls.after("true", within=0.3):
            pass  # link-local addresses come by themselves
        for change in OURS6:
            assert await calls.after(change, within=2), change


@alone
async def test_what_is_not_ours_is_not_listened_to() -> None:
    sh(DEVICES)
    async with watching() as calls:
        for change in FOREIGN:
            assert not await calls.after(change, within=0.15), change
        assert await calls.after("ip link set far_wan1 down", within=2)


RENEWED = [
    "ip address change 2001:db8:1::7/64 dev wan1 valid_lft 900 preferred_lft 300",
    "ip -6 route replace default via fe80::1 dev wan1 metric 1001",
    f"ip -6 route replace default via fe80::1 dev wan1 table {DUAL.uplinks[0].table}",
]
OTHERWISE = [
    "ip address change 2001:db8:1::7/64 dev wan1 valid_lft 900 preferred_lft 0; "
    "ip address delete 2001:db8:1::7/64 dev wan1; ip address add 2001:db8:1::7/64 dev wan1 nodad",
    "ip -6 route replace default via fe80::2 dev wan1 metric 1001",
    "ip -6 route replace default dev wan1 metric 1001",
    "ip -6 route replace default via fe80::1 dev foreign metric 1001",
    "ip -6 route delete default",
]


@alone
async def test_what_is_announced_once_more_is_no_change() -> None:
    """A provider renews its address and its route every few seconds."""
    sh(DEVICES + "ip address add 2001:db8:1::7/64 dev wan1 nodad\n" + "\n".join(RENEWED))
    async with watching(DUAL) as calls:
        while await calls.after("true", within=0.3):
            pass  # link-local addresses come by themselves
        for again in RENEWED:
            assert not await calls.after(again, within=0.15), again
        for change in OTHERWISE:
            assert await calls.after(change, within=2), change


@alone
async def test_many_changes_are_one_call_and_then_another() -> None:
    sh(DEVICES)
    count = 0

    async def count_it() -> Facts:
        nonlocal count
        count += 1
        return await look(PLAN)

    task = asyncio.create_task(watch(PLAN, count_it))
    async with watching() as calls:
        assert await calls.after(
            "for n in 10 11 12 13 14 15 16 17; do ip address add 192.0.2.$n/24 dev wan1; done",
            within=2,
        )
    assert count <= 4
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@alone
async def test_changes_without_an_end_are_looked_at_all_the_same() -> None:
    """Somebody's loop, or a routing daemon that learns: whoever waits for calm waits for ever."""
    sh(DEVICES)
    looks: list[float] = []
    loop = asyncio.get_running_loop()

    async def look() -> None:
        looks.append(loop.time())

    task = asyncio.create_task(watch(PLAN, look))
    storm = await asyncio.create_subprocess_shell(
        "yes 'address add 192.0.2.9/24 dev wan1\naddress delete 192.0.2.9/24 dev wan1'"
        " | timeout 2 ip -batch -"
    )
    await storm.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    gaps = [after - before for before, after in pairwise(looks)]
    # not once for each of the hundreds, and none of them waits for long
    assert 5 < len(looks) < 60
    assert max(gaps) < 1


@alone
async def test_too_many_changes_at_once_do_not_deafen() -> None:
    sh(DEVICES)
    async with watching() as calls:
        batch = "\n".join(
            f"route add 1.{high}.{low}.0/24 via 192.0.2.1 table 99"
            for high in range(64)
            for low in range(200)
        )
        assert await calls.after(f"ip -batch - <<.\n{batch}\n.", within=5)
        while await calls.after("true", within=0.2):
            pass
        assert await calls.after("ip link set far_wan1 down", within=2)

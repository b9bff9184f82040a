"""What is kept in the kernel's routing, where the plays do not tell one thing from another."""

from dataclasses import replace

import samples
from nib.monitor.events import AddDefault, Default, Device, Facts, NextHop, SetBalance
from nib.monitor.upkeep import MAIN, PUT_BACK6, Memory, learn, repair
from nib.state import everything
from test_core import begun, settled

DUAL = samples.plan(samples.DUAL)
CABLE, DSL, OLD = DUAL.uplinks


def test_an_ipv6_default_gives_way_to_networkds_and_is_another_route() -> None:
    """The kernel would make one route of two with the same metric."""
    of = settled("dual")
    of.act("2 removed default wan1 main\n3 end")
    back = [effect.default for _, effect in of.done if isinstance(effect, AddDefault)]
    assert {(one.family, one.metric) for one in back} == {
        (4, CABLE.metric),
        (6, CABLE.metric + PUT_BACK6),
    }


def facts(*defaults: Default, address: str = "192.0.2.10") -> Facts:
    """Cable has an address, and only the routes that are named."""
    device = Device("wan1", 3, up=True, carrier=True, addresses=((4, address),))
    return Facts((device,), defaults, (), ())


VIA = Default(4, MAIN, "wan1", "192.0.2.1", CABLE.metric, ours=False)


def test_a_gateway_is_remembered_as_long_as_the_address() -> None:
    known = learn(DUAL, facts(VIA), Memory())
    assert known.gateways["cable", 4][0] == "192.0.2.1"
    assert learn(DUAL, facts(), known).gateways.keys() == {("cable", 4)}
    assert learn(DUAL, facts(address="198.51.100.9"), known).gateways == {}
    down = replace(facts(), devices=(replace(facts().devices[0], carrier=False),))
    assert learn(DUAL, down, known).gateways == {}


def test_what_the_last_monitor_knew_is_of_its_device_and_address() -> None:
    for device, address, found in (
        ("wan1", "192.0.2.10", True),
        ("wan9", "192.0.2.10", False),
        ("wan1", "192.0.2.11", False),
    ):
        told = Memory(told={("cable", 4): ("192.0.2.1", device, address)})
        assert bool(learn(DUAL, facts(), told).gateways) == found


def test_the_gateway_is_that_of_the_uplinks_own_table() -> None:
    """A route in main may be another's; one of the monitor's own says what was."""
    own = replace(VIA, table=CABLE.table, gateway="192.0.2.254", metric=VIA.metric + 1)
    ours = replace(own, gateway="192.0.2.99", ours=True)
    for routes in ((VIA, own, ours), (ours, own, VIA)):
        assert learn(DUAL, facts(*routes), Memory()).gateways["cable", 4][0] == "192.0.2.254"


def test_ipv6_is_shared_among_gateways_only() -> None:
    """A device that is the way itself has all of it, or nothing."""

    def balance(*gateways: str | None) -> tuple[NextHop, ...]:
        devices = tuple(
            Device(uplink.device, index, True, True, ((6, f"2001:db8::{index}"),))
            for index, uplink in enumerate((CABLE, DSL), start=3)
        )
        routes = tuple(
            Default(6, uplink.table, uplink.device, gateway, uplink.metric, ours=False)
            for uplink, gateway in zip((CABLE, DSL), gateways, strict=True)
        )
        now = Facts(devices, routes, (), ())
        _, effects, _ = repair(DUAL, now, everything(DUAL), learn(DUAL, now, Memory()), 1.0)
        (hops,) = [one.hops for one in effects if isinstance(one, SetBalance) and one.family == 6]
        return hops

    cable, dsl = NextHop("wan1", "fe80::1", 3), NextHop("wan2", "fe80::2", 1)
    assert balance("fe80::1", "fe80::2") == (cable, dsl)
    assert balance("fe80::1", None) == (replace(cable, weight=1),)
    assert balance(None, "fe80::2") == (dsl,)
    assert balance(None, None) == (NextHop("wan1", None, 1),)


def test_each_policy_calls_back_after_its_own_time_and_from_all_its_later_tiers() -> None:
    of = begun("several")
    said = of.act(
        "".join(f"0.1 {uplink.name} .\n" for uplink in of.plan.uplinks) + "60 end"
    ).splitlines()
    left = [line.split()[0] for line in said if "leaves" in line]
    assert left == ["5", "20"]
    assert said[-2].endswith("default4 leaves 2; calls4 leaves 1")

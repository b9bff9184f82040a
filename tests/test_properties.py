"""What holds for every configuration that is right, whatever is in it."""

import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

import private
import samples
from configurations import MOST_LANS, MOST_UPLINKS, Data, configuration, configurations, text
from lab.errors import eventually
from lab.image import image
from nib.plan import Plan, from_json, to_json
from nib.planner import assign_ids, highest_id
from nib.render import render
from nib.state import Live, everything, render_state
from nib_lab import NibLab

SYSTEMDS = (252, 257)

# Seeds do not shrink, they only take long to.
unshrunk = settings(deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def planned(data: Data) -> Plan:
    return samples.plan(text(data))


def table(plan: Plan) -> str:
    return str(render(plan)["nib/nib.nft"])


def some_alive(plan: Plan, random: Random) -> Live:
    return {
        family: frozenset(random.sample(sorted(names), random.randint(0, len(names))))
        for family, names in everything(plan).items()
    }


def test_lans_of_every_kind_are_among_them() -> None:
    """What holds for every configuration says nothing of what none of them has."""
    plans = [planned(configuration(Random(seed), 3, 3)) for seed in range(200)]
    kinds = {(lan.families, lan.external, lan.addresses != ()) for p in plans for lan in p.lans}
    assert kinds >= {
        ((4,), False, True),
        ((4, 6), False, True),
        ((4, 6), True, False),
        ((6,), False, True),
        ((6,), False, False),
    }


@settings(unshrunk, max_examples=40)
@given(configurations())
def test_what_is_right_compiles(data: Data) -> None:
    plan = planned(data)
    assert from_json(to_json(plan)) == plan
    for systemd in SYSTEMDS:
        files = render(plan, systemd)
        for path, content in files.items():
            assert not isinstance(content, str) or content.isascii(), path


@settings(unshrunk, max_examples=40)
@given(configurations(), st.randoms())
def test_order_means_nothing(data: Data, random: Random) -> None:
    shuffled = {
        key: dict(random.sample(list(value.items()), len(value)))
        if key in ("uplinks", "lans")
        else value
        for key, value in data.items()
    }
    assert render(planned(shuffled)) == render(planned(data))


@settings(unshrunk, max_examples=40)
@given(configurations(lans=3, smallest=2), st.data())
def test_an_uplink_that_goes_takes_no_number_along(data: Data, choice: st.DataObject) -> None:
    """But where it had kept another one from its number: then they meet, which names rarely do."""
    plan = planned(data)
    gone = choice.draw(st.sampled_from([uplink.name for uplink in plan.uplinks]))
    assume(any(u.get("weight", 1) for n, u in data["uplinks"].items() if n != gone))
    # the lan's IPv4 needs a way
    assume(any(4 in uplink.families for uplink in plan.uplinks if uplink.name != gone))
    rest = without(data, gone)
    after = planned(rest)
    home = data["uplinks"][gone].get("id")
    if home is None:
        home = assign_ids({gone: None}, highest_id(plan.marks.mask))[gone]
    assume(home not in {uplink.id for uplink in after.uplinks})
    for uplink in after.uplinks:
        before = plan.uplink(uplink.name)
        assert (uplink.id, uplink.mark, uplink.table) == (before.id, before.mark, before.table)


def without(data: Data, gone: str) -> Data:
    """The uplinks but one, the mask and a lan; the rest might name it, and a modem names lans."""
    left = {
        name: {key: value for key, value in uplink.items() if key != "modem"}
        for name, uplink in data["uplinks"].items()
        if name != gone
    }
    lans = {"home": {"device": "lan0", "address": "10.0.0.1/24"}}
    kept = {key: data[key] for key in ("marks", "probe") if key in data}
    return kept | {"uplinks": left, "lans": lans}


# -- nft -----------------------------------------------------------------------------------------


def loaded(data: Data, other: Data, random: Random, root: Path = Path("/")) -> None:
    """The table over nothing, itself, a flip, another one's table; and again over that."""
    plan, before = planned(data), planned(other)
    texts = [table(plan), table(plan), render_state(plan, some_alive(plan, random)), table(plan)]
    texts += [table(before), render_state(before, some_alive(before, random)), table(plan)]
    with tempfile.TemporaryDirectory() as folder:
        private.load(texts, Path(folder), root)


@settings(unshrunk, max_examples=25)
@given(configurations(lans=20), configurations(lans=20), st.randoms())
def test_nft_takes_it_over_any_other(data: Data, other: Data, random: Random) -> None:
    loaded(data, other, random)


def test_nft_takes_the_largest() -> None:
    random = Random(1)
    largest = configuration(random, MOST_UPLINKS, MOST_LANS)
    # everybody to everybody
    largest = {key: largest[key] for key in ("uplinks", "lans")}
    loaded(largest, configuration(random, 1, 0), random)


@pytest.mark.lab
def test_every_nft_takes_it(suite: str) -> None:
    root = image(suite)
    for seed in range(10):
        random = Random(seed)
        data, other = (
            configuration(random, random.choice([1, 2, 3, 20, 62]), random.choice([0, 1, 2, 20]))
            for _ in range(2)
        )
        loaded(data, other, random, root)


# -- networkd ------------------------------------------------------------------------------------


ALONE: Data = {
    "uplinks": {
        "cable": {"device": "wan1", "address": "dhcp", "ipv6": "routed"},
        "village": {"device": "wan2", "address": "dhcp", "ipv4": "off"},
    },
    "lans": {
        "given": {"device": "lan1"},
        "written": {"device": "lan8", "address": "fd00:20::1/64", "mtu": 1400},
        "mine": {"device": "lan9", "network": "10-lan9.network"},
    },
}
"""Lans of IPv6 alone."""


@pytest.mark.lab
def test_networkd_has_nothing_to_complain_of(suite: str) -> None:
    """Each follows the one before, as after an edit of balance.yaml.

    Only what is said about files counts: systemd 252 drops and adds all rules whenever one changes,
    and now and then complains of one that is gone already.
    """
    with NibLab(suite) as lab:
        lab.router.boot()
        lab.router.run("systemctl stop nib-monitor")  # it has a plan of its own
        devices = {"wan1", "wan2", "lan1"}  # the lab's own
        random = Random(8)
        for data in (
            *(configuration(random, random.choice([1, 2, 4]), lans) for lans in (0, 1, 3, 3)),
            ALONE,
            *(configuration(random, random.choice([1, 2, 4]), lans) for lans in (3, 1, 0)),
            configuration(random, MOST_UPLINKS, MOST_LANS),
        ):
            parts = [*data["uplinks"].values(), *data.get("lans", {}).values()]
            for device in {part["device"] for part in parts} - devices:
                peer = f"peer{len(devices)}"
                lab.router.run(
                    f"ip link add {device} up type veth peer name {peer} && ip link set {peer} up"
                )
                devices.add(device)
            lab.router.run("rm -f /etc/systemd/network/10-*.network")
            for part in parts:
                if "network" in part:
                    mine = f"[Match]\nName={part['device']}\n[Network]\n"
                    written = part.get("address", [])
                    given = written if isinstance(written, list) else [written]
                    known = {"dhcp": "DHCP=yes\n", "external": ""}
                    mine += "".join(known.get(one, f"Address={one}\n") for one in given)
                    lab.router.put(f"/etc/systemd/network/{part['network']}", mine)
            lab.configure(text(data))
            lab.router.run("networkctl reload")
            rules = [
                rule for rule in planned(data).rules if rule.family == 4 and rule.device == "lo"
            ]
            wanted = {rule.priority for rule in rules}
            eventually(lambda: priorities(lab) >= wanted, 60)  # noqa: B023
            assert [line for line in lab.complaints() if "05-nib" in line] == [], data


def priorities(lab: NibLab) -> set[int]:
    """Of the IPv4 rules that the router has."""
    return {int(line.partition(":")[0]) for line in lab.router.run("ip rule").splitlines()}

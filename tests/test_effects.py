"""What the monitor does to the kernel, and only that: with real routes, rules and nft."""

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

import samples
from alone import alone, eventually, sh
from nib.ip_rules import MAIN, Priority, Rule
from nib.monitor.effects import EffectError, Effects, write
from nib.monitor.events import (
    AddDefault,
    AddNetwork,
    AddRule,
    Default,
    Effect,
    LanNetwork,
    LoadState,
    LoadTable,
    NextHop,
    PresentRule,
    Publish,
    RemoveDefault,
    RemoveNetwork,
    RemoveRule,
    SetBalance,
)
from nib.monitor.links import look
from nib.monitor.netlink import Kernel
from nib.monitor.tables import TableWatch
from nib.monitor.upkeep import PUT_BACK6
from nib.plan import Plan
from nib.state import everything, render_state
from nib.status import STATUS_FILE, VERSION, Status, from_json
from test_links import DEVICES, DUAL, MANY, looked, rule_text

PLAN = samples.plan()
CABLE, DSL = PLAN.uplinks
ALL, ONE = everything(PLAN), {4: frozenset({"dsl"})}

VIA_CABLE = Default(4, MAIN, "wan1", "192.0.2.1", CABLE.metric, ours=True)
OWN_CABLE = replace(VIA_CABLE, table=CABLE.table)


class Acting:
    """The effects, and how often somebody else seemed to change the table."""

    effects: Effects
    touched = 0

    def touch(self, reloaded: bool) -> None:
        self.touched += 1

    async def __call__(self, *effects: Effect) -> None:
        """Each of them twice: what is so already is no failure."""
        for effect in effects:
            await self.effects.run(effect)
            await self.effects.run(effect)


@asynccontextmanager
async def acting(
    table_file: Path = Path("/nonexistent/nib.nft"), plan: Plan = PLAN
) -> AsyncIterator[Acting]:
    sh(DEVICES)
    act = Acting()
    with closing(TableWatch("nib", act.touch)) as tables, Kernel() as kernel:
        act.effects = Effects(plan, table_file, tables, kernel)
        yield act


def routes(table: object = "main") -> list[str]:
    """The defaults of a table, as ip(8) prints them."""
    text = sh(f"ip route show table {table} default 2>/dev/null || true")
    return [" ".join(line.split()) for line in text.splitlines()]


# -- the balance table


@alone
async def test_balance() -> None:
    both = (NextHop("wan1", "192.0.2.1", 256), NextHop("wan2", "198.51.100.1", 1))
    point_to_point = (NextHop("wan1", None, 3), NextHop("wan2", "198.51.100.1", 1))
    async with acting() as act:
        for hops in (both, both[1:], point_to_point, point_to_point[:1], both):
            await act(SetBalance(4, hops))
            seen = dict((await looked()).balance)[4]
            assert seen == (hops if len(hops) > 1 else (replace(hops[0], weight=1),))
        await act(SetBalance(4, ()))
        assert (await looked()).balance == ()
        assert routes(PLAN.balance_table) == []


@alone
async def test_balance_of_ipv6() -> None:
    both = (NextHop("wan1", "fe80::1", 256), NextHop("wan2", "fe80::1", 1))
    point_to_point = (NextHop("wan1", None, 3),)
    async with acting(plan=DUAL) as act:
        for hops in (both, both[1:], point_to_point, both, both[:1]):
            await act(SetBalance(6, hops))
            (seen,) = (await looked(DUAL)).balance
            assert seen[0] == 6
            wanted = hops if len(hops) > 1 else (replace(hops[0], weight=1),)
            assert sorted(seen[1], key=str) == sorted(wanted, key=str)
        await act(SetBalance(6, ()))
        assert (await looked(DUAL)).balance == ()


@alone
async def test_balance_of_ipv6_that_is_refused_can_be_asked_for_again() -> None:
    """It is not one step: what was there may be gone afterwards."""
    good = (NextHop("wan1", "fe80::1", 1), NextHop("wan2", "fe80::1", 1))
    async with acting(plan=DUAL) as act:
        await act(SetBalance(6, good))
        with pytest.raises(EffectError):
            await act(SetBalance(6, (good[0], NextHop("wan2", "2001:db8:99::1", 1))))
        await act(SetBalance(6, good))
        assert set(dict((await looked(DUAL)).balance)[6]) == set(good)


@alone
async def test_an_ipv6_default_comes_and_goes_beside_networkds() -> None:
    cable, dsl, _ = DUAL.uplinks
    ours = Default(6, MAIN, "wan1", "fe80::1", cable.metric + PUT_BACK6, ours=True)
    theirs = replace(ours, metric=cable.metric, ours=False)
    async with acting(plan=DUAL) as act:
        for default in (ours, replace(ours, table=dsl.table, device="wan2", gateway=None)):
            await act(AddDefault(default))
            assert (await looked(DUAL)).defaults == (default,)
            await act(RemoveDefault(default))
        await act(AddDefault(ours))
        sh(f"ip -6 route add default via fe80::1 dev wan1 metric {cable.metric} proto ra")
        assert set((await looked(DUAL)).defaults) == {ours, theirs}
        await act(RemoveDefault(ours))
        assert (await looked(DUAL)).defaults == (theirs,)


@alone
async def test_balance_by_a_device_that_has_just_gone() -> None:
    gone, there = NextHop("wan1", "192.0.2.1", 3), NextHop("wan2", "198.51.100.1", 1)
    async with acting() as act:
        await act(SetBalance(4, (gone, there)))
        sh("ip link delete wan1")
        await act(SetBalance(4, (gone, there)))
        assert dict((await looked()).balance)[4] == (there,)
        await act(SetBalance(4, (gone,)))
        assert (await looked()).balance == ()


@alone
async def test_balance_by_a_gateway_that_cannot_be_reached() -> None:
    async with acting() as act:
        with pytest.raises(EffectError, match=r"unreachable|invalid gateway"):
            await act(SetBalance(4, (NextHop("wan1", "203.0.113.1", 1),)))


# -- defaults


@alone
async def test_a_default_comes_and_goes() -> None:
    async with acting() as act:
        for default in (VIA_CABLE, OWN_CABLE, Default(4, DSL.table, "wan2", None, 9, ours=True)):
            await act(AddDefault(default))
            assert (await looked()).defaults == (default,)
            await act(RemoveDefault(default))
            assert (await looked()).defaults == ()


@alone
async def test_others_defaults_stay() -> None:
    """Even one that differs from ours in nothing but who made it."""
    async with acting() as act:
        sh(f"""
        ip route add default via 192.0.2.1 dev wan1 metric {CABLE.metric} proto dhcp
        ip route append default via 198.51.100.1 dev wan2 metric {CABLE.metric} proto static
        ip route add default via 10.0.0.9 dev foreign
        ip route add default via 192.0.2.1 dev wan1 metric {CABLE.metric} proto dhcp \
            table {CABLE.table}
        """)
        before = routes(), routes(CABLE.table)
        await act(RemoveDefault(VIA_CABLE), RemoveDefault(OWN_CABLE))
        assert (routes(), routes(CABLE.table)) == before
        await act(AddDefault(VIA_CABLE), AddDefault(OWN_CABLE))
        assert set(before[0]) < set(routes())
        assert set(before[1]) < set(routes(CABLE.table))
        await act(RemoveDefault(VIA_CABLE), RemoveDefault(OWN_CABLE))
        assert (routes(), routes(CABLE.table)) == before


@alone
async def test_a_default_by_a_device_that_has_just_gone() -> None:
    async with acting() as act:
        await act(AddDefault(replace(VIA_CABLE, device="wan2", gateway="198.51.100.1")))
        sh("ip link delete wan1")
        await act(AddDefault(VIA_CABLE), RemoveDefault(VIA_CABLE))
        await act(RemoveDefault(replace(VIA_CABLE, gateway="198.51.100.1")))
        assert len(routes()) == 1


@alone
async def test_a_default_that_cannot_be() -> None:
    async with acting() as act:
        with pytest.raises(EffectError, match=r"unreachable|invalid gateway"):
            await act(AddDefault(replace(VIA_CABLE, gateway="203.0.113.1")))


@alone
async def test_a_network_of_a_lan_comes_and_goes() -> None:
    network = LanNetwork("2001:db8:1:100::/64", "lan1", 1)
    shown = "ip -6 -o route show 2001:db8:1:100::/64; ip -6 -o address show to 2001:db8:1:100::/64"
    async with acting(plan=DUAL) as act:
        await act(AddNetwork(network))
        route, address = sh(shown).splitlines()
        assert "dev lan1 proto 110 metric 1" in route
        assert "lan1    inet6 2001:db8:1:100::1/" in address
        await act(RemoveNetwork(network))
        assert sh(shown) == ""


# -- rules


@alone
async def test_every_rule_of_the_plan_comes_and_goes() -> None:
    marked_zero = Rule(4, Priority(30999), "", iif="lan1", mark=0, mask=PLAN.marks.id_mask)
    shortcuts = [rule for rule in MANY.rules if rule.goto]
    assert shortcuts
    async with acting(plan=DUAL) as act:
        for rule in (*DUAL.rules, marked_zero, *shortcuts):
            await act(AddRule(rule))
            (present,) = (await looked(MANY if rule.goto else DUAL)).rules
            assert present == PresentRule(rule, ours=True)
            await act(RemoveRule(rule))
            assert (await looked(DUAL)).rules == ()


@alone
async def test_others_rules_stay() -> None:
    async with acting() as act:
        for rule in PLAN.rules:
            sh(rule_text(rule))
        before = sh("ip rule")
        await act(*(RemoveRule(rule) for rule in PLAN.rules))
        assert sh("ip rule") == before
        await act(*(AddRule(rule) for rule in PLAN.rules))
        await act(*(RemoveRule(rule) for rule in PLAN.rules))
        assert sh("ip rule") == before


# -- the nft table


def balance() -> set[str]:
    """Which uplinks new flows leave by."""
    listed = sh("nft list chain inet nib balance_default4")
    assert "numgen random mod 65536" in listed
    return set(re.findall(r"goto (\w+)", listed))


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    """The table as nib-gen writes it."""
    file = tmp_path / "nib.nft"
    file.write_text(samples.files()["nib/nib.nft"])
    return file


@alone
async def test_a_flip_outlives_a_reload_by_anyone(table_file: Path) -> None:
    async with acting(table_file) as act:
        await act(LoadTable(render_state(PLAN, ALL)))
        assert balance() == {"new_cable", "new_dsl"}
        await act(LoadState(render_state(PLAN, ONE)))
        assert balance() == {"new_dsl"}
        assert Path(PLAN.state_file).read_text() == render_state(PLAN, ONE)
        assert act.touched == 0

        sh(f"nft -f {table_file}")
        assert balance() == {"new_dsl"}
        await eventually(lambda: act.touched)

        sh("nft flush ruleset")
        await act(LoadTable(render_state(PLAN, ONE)))
        assert balance() == {"new_dsl"}
        assert [path.name for path in Path("/run/nib").iterdir()] == [Path(PLAN.state_file).name]


@alone
async def test_a_flip_needs_no_room(table_file: Path) -> None:
    """A full /run is complained of, but flows do not stay on a dead line because of it."""
    async with acting(table_file) as act:
        await act(LoadTable(render_state(PLAN, ALL)))
        sh("mount -t tmpfs -o size=64k tmpfs /run/nib; cat /dev/zero > /run/nib/full || true")
        with pytest.raises(OSError, match="No space left"):
            await act(LoadState(render_state(PLAN, ONE)))
        assert balance() == {"new_dsl"}
        sh("nft flush ruleset")
        with pytest.raises(OSError, match="No space left"):
            await act(LoadTable(render_state(PLAN, ONE)))
        assert balance() == {"new_dsl"}
        assert act.touched == 1  # the flush
        sh("rm /run/nib/full")
        await act(LoadState(render_state(PLAN, ONE)))
        assert Path(PLAN.state_file).read_text() == render_state(PLAN, ONE)


@alone
async def test_a_table_that_is_gone_and_refused_leaves_the_router_closed(table_file: Path) -> None:
    right, state = table_file.read_text(), render_state(PLAN, ALL)
    table_file.with_name("stopped.nft").write_text(str(samples.files()["nib/stopped.nft"]))
    async with acting(table_file) as act:
        await act(LoadTable(state))
        table_file.write_text(right + "add rule inet nib user_input tcp dprot 22 accept\n")
        for _ in range(2):
            with pytest.raises(EffectError, match="syntax error"):
                await act(LoadTable(state))
            assert sh("nft list tables") == "table inet nib\n"
        sh("nft flush ruleset")
        await eventually(lambda: act.touched == 1)
        for _ in range(2):
            with pytest.raises(EffectError, match="syntax error"):
                await act(LoadTable(state))
            assert sh("nft list tables") == "table inet nib_stopped\n"
            assert 'counter name "drop_input" drop' in sh("nft list table inet nib_stopped")
        assert act.touched == 1
        table_file.write_text(right)
        await act(LoadTable(state))
        assert sh("nft list tables") == "table inet nib\n"


@alone
async def test_a_refusing_nft_is_quoted(table_file: Path) -> None:
    async with acting(table_file) as act:
        with pytest.raises(EffectError, match=r"^nft -f .*: .*No such file or directory$"):
            await act(LoadState(render_state(PLAN, ALL)))
        table_file.write_text(
            "table inet nib { chain c { type filter hook nowhere priority 0; } }\n"
        )
        with pytest.raises(EffectError, match=r"nib\.nft:1:\S+: Error: unknown chain hook$"):
            await act(LoadTable(render_state(PLAN, ALL)))


@alone
async def test_no_nft(monkeypatch: pytest.MonkeyPatch) -> None:
    async with acting() as act:
        monkeypatch.setenv("PATH", "/nonexistent")
        with pytest.raises(EffectError, match="cannot start nft: No such file or directory"):
            await act(LoadState("flush ruleset\n"))


# -- files


@alone
async def test_status_json() -> None:
    status = Status(VERSION, 1.5, (), ())
    async with acting() as act:
        await act(Publish(status, "0 of 0 uplinks up"))
        assert from_json(Path(STATUS_FILE).read_text()) == status
        sh("rm -r /run/nib")
        with pytest.raises(OSError, match="No such file"):
            await act(Publish(status, "0 of 0 uplinks up"))


def test_readers_see_the_old_or_the_new(tmp_path: Path) -> None:
    file = tmp_path / "state-0.nft"
    write(file, "old\n")
    with file.open() as reader:
        write(file, "new\n")
        assert reader.read() == "old\n"
    assert file.read_text() == "new\n"
    assert list(tmp_path.iterdir()) == [file]


@alone
async def test_facts_while_the_kernel_is_busy() -> None:
    """Looking at what comes and goes meanwhile is no trouble."""
    sh(DEVICES)
    busy = subprocess.Popen(
        [
            "sh",
            "-c",
            "while ip link add wan9 type veth peer name far9; do ip link delete wan9; done",
        ]
    )
    try:
        async with asyncio.timeout(10):
            for _ in range(100):
                facts = await look(PLAN)
                assert [device.name for device in facts.devices] == ["wan1", "wan2", "lan1"]
    finally:
        busy.kill()
        busy.wait()

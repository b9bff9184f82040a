"""Other people's changes to nib's table are noticed, our own are not: with a real kernel."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import samples
from alone import alone, eventually, sh
from nib.monitor.tables import TableWatch
from nib.state import render_state


def nft(text: str) -> None:
    """One transaction."""
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


async def nft_beside(text: str) -> None:
    """One transaction while the loop turns."""
    process = await asyncio.create_subprocess_exec("nft", "-f", "-", stdin=subprocess.PIPE)
    await process.communicate(text.encode())


NIB = """
table inet nib_stopped
delete table inet nib_stopped
table inet nib {
    map restore4 { type mark : verdict; }
    chain use_cable { }
    chain mark_local { type filter hook output priority 0; meta mark 5 counter; }
    counter flows { }
}
"""
FLIP = "flush map inet nib restore4; add element inet nib restore4 { 7 : goto use_cable }\n"


class Watched:
    """A watch on nib's table, and one on a table that only tells where the kernel has got to."""

    def __init__(self) -> None:
        self.touched = 0
        self.reloaded: list[bool] = []
        self._milestones = 0
        self.watch = TableWatch("nib", self._touch)
        self._milestone = TableWatch("milestone", self._pass)

    def _touch(self, reloaded: bool) -> None:
        self.touched += 1
        self.reloaded.append(reloaded)

    def _pass(self, reloaded: bool) -> None:
        self._milestones += 1

    async def so_far(self) -> int:
        """How often it was called, once all that has happened was heard of."""
        passed = self._milestones
        nft("table inet milestone; delete table inet milestone\n")
        await eventually(lambda: self._milestones > passed)
        # both sockets were readable at once, but one is read after the other
        await asyncio.sleep(0)
        count, self.touched = self.touched, 0
        return count

    def close(self) -> None:
        self.watch.close()
        self._milestone.close()


@contextmanager
def watched() -> Iterator[Watched]:
    nft(NIB)
    both = Watched()
    try:
        yield both
    finally:
        both.close()


@pytest.mark.parametrize(
    "change",
    [
        FLIP,
        "add element inet nib restore4 { 9 : goto use_cable }",
        "add chain inet nib mine",
        "add rule inet nib use_cable counter",
        "flush chain inet nib mark_local",
        "add set inet nib mine { type mark; }",
        "add counter inet nib mine",
        "delete table inet nib",
        "flush ruleset",
        "table ip other; table inet nib { chain mine { }; }; table ip6 another",
    ],
)
@alone
async def test_a_foreign_change_is_noticed(change: str) -> None:
    with watched() as both:
        nft(change + "\n")
        assert await both.so_far() == 1


@pytest.mark.parametrize(
    "change",
    [
        "table inet other { chain nib { type filter hook input priority 0; }; }",
        "table ip nib { chain mine { }; }",
        "table inet nibble { set nib { type mark; elements = { 1 } }; }",
    ],
)
@alone
async def test_other_tables_are_others(change: str) -> None:
    with watched() as both:
        nft(change + "\n")
        assert await both.so_far() == 0


GONE = "delete table inet nib\n"
RELOAD = "flush table inet nib\nflush map inet nib restore4\n" + NIB + FLIP


@pytest.mark.parametrize(
    ("change", "reloaded"),
    [
        (RELOAD, True),
        (RELOAD + "add rule inet nib use_cable counter\n", True),
        ("flush table inet nib\nflush map inet nib restore4\n" + FLIP, False),
        ("flush map inet nib restore4", False),
        ("add rule inet nib use_cable counter", False),
        ("add element inet nib restore4 { 9 : goto use_cable }", False),
        ("add chain inet nib mine", False),
        ("flush chain inet nib mark_local; add rule inet nib mark_local counter", False),
        ("replace rule inet nib mark_local handle HANDLE counter", False),
        ("delete table inet nib", False),
        ("flush ruleset", False),
        ("flush ruleset\n" + NIB, False),
        ("table ip other { chain mine { counter; }; }; " + "delete table inet nib", False),
    ],
)
@alone
async def test_a_reload_is_told_from_a_removal(change: str, reloaded: bool) -> None:
    with watched() as both:
        nft(FLIP)
        await both.so_far()
        handle = sh("nft -a list chain inet nib mark_local | sed -n 's/.* counter.* # handle //p'")
        nft(change.replace("HANDLE", handle.strip()) + "\n")
        assert await both.so_far() == 1
        assert both.reloaded[-1] == reloaded


@alone
async def test_nibs_own_table_is_loaded_again() -> None:
    """Whoever does it, and with a state that was flipped meanwhile; several at once as well."""
    text, plan = str(samples.files()["nib/nib.nft"]), samples.plan()
    flip = render_state(plan, {4: frozenset({"dsl"})})
    with watched() as both:
        nft(GONE + text)
        nft(flip)
        await both.so_far()
        for again in ((text,), (text + flip,), (text, text, text)):
            for one in again:
                nft(one)
            assert await both.so_far() >= 1
            assert both.reloaded.pop()
        for again in ((text, GONE), (GONE, text), (GONE + text, GONE)):
            for one in again:
                nft(one)
            assert await both.so_far() >= 1
            assert not both.reloaded.pop()
            nft(text)
            await both.so_far()


@alone
async def test_looking_changes_nothing() -> None:
    with watched() as both:
        sh("nft list ruleset; nft list counters; nft -c flush ruleset; nft reset counters")
        assert await both.so_far() == 0


@alone
async def test_own_transactions_are_not_noticed() -> None:
    with watched() as both:
        for _ in range(3):
            with both.watch.own():
                await nft_beside(FLIP)
        with both.watch.own():
            await nft_beside(NIB + FLIP)
        assert await both.so_far() == 0


@alone
async def test_a_foreign_change_beside_an_own_one_is_noticed() -> None:
    with watched() as both:
        with both.watch.own():
            await nft_beside("add chain inet nib mine\n")
            await nft_beside(FLIP)
        assert await both.so_far() == 1
        with both.watch.own():
            await asyncio.gather(nft_beside(FLIP), nft_beside("flush ruleset\n" + NIB))
        assert await both.so_far() == 1
        with both.watch.own():
            await nft_beside(RELOAD)
            await nft_beside("delete table inet nib\n")
        assert await both.so_far() == 1
        # whose the reload was is not known
        assert both.reloaded == [False] * 3


@alone
async def test_a_foreign_change_beside_an_own_one_that_fails() -> None:
    with watched() as both:
        with pytest.raises(RuntimeError), both.watch.own():
            await nft_beside("delete table inet nib\n")
            raise RuntimeError("nft refused ours")
        assert await both.so_far() == 1
        with pytest.raises(RuntimeError), both.watch.own():
            raise RuntimeError("nft refused ours")
        assert await both.so_far() == 0


@alone
async def test_more_than_the_kernel_keeps_for_us() -> None:
    """What was lost may have been about nib's table."""
    with watched() as both:
        nft("table inet other { set s { type mark; }; }\n")
        for start in range(0, 100_000, 10_000):
            elements = ", ".join(map(str, range(start, start + 10_000)))
            nft(f"add element inet other s {{ {elements} }}\n")
        await eventually(lambda: both.touched)
        assert not any(both.reloaded)
        await both.so_far()
        nft("delete table inet nib\n")
        assert await both.so_far() == 1

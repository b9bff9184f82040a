"""Warnings: each of them whole, and none where there is nothing to regret."""

from pathlib import Path

import pytest

import samples
from nib.advice import advice
from nib.check import check
from nib.document import parse
from nib.peers import PEERS, Peer
from nib.planner_rules import BALANCE_TABLE
from nib.problem import report
from test_docs import examples

WARNINGS = Path(__file__).parent / "warnings"


def warned(raw: bytes) -> str:
    document = parse("balance.yaml", raw)
    return report("balance.yaml", document.text, advice(document, check(document)), "warning")


@pytest.mark.parametrize("name", sorted(path.stem for path in WARNINGS.glob("*.yaml")))
def test_warning(name: str, update_golden: bool) -> None:
    answer = warned((WARNINGS / f"{name}.yaml").read_bytes())
    kept = WARNINGS / f"{name}.txt"
    if update_golden:
        kept.write_text(answer, encoding="utf-8")
    assert answer == kept.read_text(encoding="utf-8") != ""


@pytest.mark.parametrize("path", sorted(samples.EXAMPLES.glob("*.yaml")), ids=lambda p: p.stem)
def test_no_example_is_unwise(path: Path) -> None:
    assert warned(path.read_bytes()) == ""


@pytest.mark.parametrize("text", list(examples()))
def test_nor_is_the_documentation(text: str) -> None:
    assert warned(text.encode()) == ""


@pytest.mark.parametrize("mask", ["0x7f000000", "0xff000000", "0x07000000"])
def test_the_highest_bits_are_for_us(mask: str) -> None:
    """Calico and Cilium want them too, but those two want all there are to choose from."""
    assert warned(f"{samples.TWO}marks: {{mask: {mask}}}\n".encode()) == ""


def test_what_cannot_be_changed_is_nobody_elses() -> None:
    assert [peer.name for peer in PEERS if BALANCE_TABLE in peer.tables] == []


def test_by_default_others_rules_come_first() -> None:
    first = samples.plan().first_priority
    assert [peer.name for peer in PEERS if max(peer.priorities, default=0) >= first] == ["pbr"]


@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer.priorities], ids=lambda p: p.name)
def test_a_priority_that_is_not_behind_others_is_warned_of(peer: Peer) -> None:
    last = max(peer.priorities)
    before, behind = (
        warned(f"{samples.TWO}marks: {{priority: {first}}}\n".encode())
        for first in (last, last + 1)
    )
    assert f"{peer.name} ({min(peer.priorities)}" in before or last == 30000
    assert peer.name not in behind

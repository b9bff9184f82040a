"""`nib explain` as people call it."""

import json
import subprocess
from pathlib import Path

import pytest

import private
import samples
from nib import plan as plans

CLIENT = "192.168.10.5"


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    text = samples.TWO + "rules: [{match: {protocol: tcp, dport: 25}, use: dsl}]\n"
    file = tmp_path / "plan.json"
    file.write_text(plans.to_json(samples.plan(text)))
    return file


def explain(plan: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a network without the devices, and without a monitor."""
    words = " ".join(arguments)
    return private.run(f'{private.python("nib")} explain --plan "$1" {words}', plan, network=True)


def test_it_says_what_becomes_of_a_packet_and_why(plan: Path) -> None:
    done = explain(plan, "--from", CLIENT, "--to 1.1.1.1 --dport 443")
    assert done.stdout.splitlines() == [
        "tcp from 192.168.10.5 to 1.1.1.1 port 443, coming in by lan1",
        "75.0%  leaves by wan1 (cable) as an address of that device",
        "       - default gives it to tier 1, by weight",
        "       - lan1 may forward to wan1 (forwarding)",
        "25.0%  leaves by wan2 (dsl) as 198.51.100.2",
        "       - default gives it to tier 1, by weight",
        "       - lan1 may forward to wan2 (forwarding)",
    ]
    assert (done.returncode, "counts as alive" in done.stderr) == (0, True)


def test_what_gets_nowhere_ends_with_1(plan: Path) -> None:
    done = explain(plan, "--in wan1 --from 9.9.9.9 --to 198.51.100.2 --dport 80")
    assert "nothing in the firewall allows it (firewall.allow)" in done.stdout
    assert done.returncode == 1


def test_programs_are_told_everything(plan: Path) -> None:
    (way,) = json.loads(explain(plan, "--json --to 1.1.1.1 --dport 25 --user root").stdout)
    assert (way["chance"], way["fate"], way["uplink"], way["rule"]) == ("1", "leaves", "dsl", 0)
    assert way["reasons"][0]["origin"] == "rules[0]"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ("--from 9.9.9.9 --to 1.1.1.1", 2, "say with --in by which device"),
        ("--from 192.168.10.5 --to 1.1.1", 2, "'1.1.1' is not an IP address"),
        ("--to 1.1.1.1 --dscp fast", 2, "'fast' is no class"),
        ("--to 224.0.0.1", 2, "224.0.0.1 goes no further than its link"),
        ("--to 1.1.1.1 --plan /nowhere", 3, "nothing was applied yet"),
    ],
)
def test_what_cannot_be_answered(plan: Path, arguments: str, status: int, says: str) -> None:
    done = explain(plan, arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr

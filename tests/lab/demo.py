"""nib at work, for somebody who has never seen it: two providers, one of which goes silent."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping

from lab.errors import LabError, eventually
from lab.image import SUITES
from lab.isp import Isp
from lab.needs import missing
from lab.record import Attempt, Attempts, Timeline
from lab.traffic import Recording, connections, flow, fresh
from lab.world import Lab

BALANCE = """\
uplinks:
  cable: {device: wan1, address: dhcp, weight: 3}
  dsl:   {device: wan2, address: 198.51.102.2/24, gateway: 198.51.102.1}
lans:
  home:  {device: lan1, address: 192.168.10.1/24}
"""
NAMES = {"isp1": "cable", "isp2": "dsl"}
SHARES = {"cable": 0.75, "dsl": 0.25}

PLAIN = bool(os.environ.get("NO_COLOR")) or not sys.stdout.isatty()
WIDTH = 40
STEP = 0.05


def paint(text: str, color: int) -> str:
    """Coloured, where that is welcome."""
    return text if PLAIN else f"\033[{color}m{text}\033[0m"


# How a connection looks: where it went, or that it failed.
LOOKS = {"cable": paint("▪", 36), "dsl": paint("▫", 33), "": paint("✕", 31)}


def say(text: str = "", end: str = "\n") -> None:
    """Show it now."""
    print(text, end=end, flush=True)


def chapter(title: str, text: str) -> None:
    """Begin something new."""
    say(f"\n{paint(title, 1)}  {text}\n")


def moment(seconds: float, text: str) -> None:
    """Something that happened that long after the beginning of the chapter."""
    say(f"  {seconds:5.1f} s  {text}")


class Demo:
    """The story, told about one lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.client = lab.lans[0]
        self.cable = lab.isps[0]

    def name(self, attempt_seen: str) -> str:
        """The uplink's name for an address that the internet saw."""
        isp = self.lab.isp_of(attempt_seen)
        return NAMES[isp.name] if isp else ""

    def shares(self, expected: Mapping[str, float]) -> None:
        """Where new connections go now."""
        count = 1000
        seen = self.lab.by_isp(connections(self.client, count))
        say(f"\n           {count} new connections from the LAN:")
        for isp, name in NAMES.items():
            share = seen[isp] / count
            bar = "█" * round(share * WIDTH) + paint("·", 2) * (WIDTH - round(share * WIDTH))
            say(f"           {name:6} {bar} {share:4.0%}   {expected.get(name, 0):.0%} expected")

    def flows(self) -> dict[str, Recording[Timeline]]:
        """A long-lived connection through each of the uplinks."""
        found: dict[str, Recording[Timeline]] = {}
        for _ in range(50):
            recording = flow(self.client, reconnect=True)
            name = self.name(recording.so_far().seen[0])
            if name in found:
                recording.stop()
            else:
                found[name] = recording
            if len(found) == len(NAMES):
                return found
        raise LabError("50 connections, and all of them through one uplink")

    def watch(
        self, new: Recording[Attempts], since: float, told: Callable[[], float | None]
    ) -> float:
        """Draw every new connection as it comes, until some time after what is to be told."""
        drawn: set[Attempt] = set()
        columns = 0
        say("           ", end="")

        def more() -> bool:
            nonlocal columns
            for attempt in new.so_far().since(since).all:
                if attempt not in drawn:
                    drawn.add(attempt)
                    if columns and columns % 60 == 0:
                        say("\n           ", end="")
                    columns += 1
                    say(LOOKS[self.name(attempt.seen)], end="")
            at = told()
            return at is not None and time.monotonic() > at + 1

        eventually(more, within=30, every=STEP)
        say("\n")
        at = told()
        assert at is not None
        return at

    def monitor_said(self, words: str, since: float) -> Callable[[], float | None]:
        """When nib-monitor said something, by its journal, whose clock is ours."""

        def when() -> float | None:
            lines = self.lab.router.run("journalctl --boot --unit=nib-monitor --output=json")
            for line in lines.splitlines():
                entry = json.loads(line)
                at = int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6
                if at > since and words in str(entry["MESSAGE"]):
                    self.message = str(entry["MESSAGE"])
                    return at
            return None

        return when

    def boot(self) -> None:
        """From the file to a router that works."""
        say(paint("balance.yaml", 1) + "\n")
        say("\n".join(f"    {line}" for line in BALANCE.splitlines()))
        router = self.lab.router
        router.put("/etc/nib/balance.yaml", BALANCE)
        router.run("nib-gen --out /etc")
        chapter("Boot", "nib-gen has written files for systemd and nftables; the router starts.")
        moment(router.boot(), f"booted: {router.run('systemctl --version').split(' (')[0]}")
        begin = time.monotonic()
        eventually(lambda: router.attempt("nib status").code == 0)
        moment(time.monotonic() - begin, "later, both uplinks answer")
        self.shares(SHARES)

    def cut(self, new: Recording[Attempts]) -> None:
        """The provider that most of the traffic uses goes silent."""
        chapter("Cut", "cable goes silent: link and lease stay, but nothing comes through.")
        say(f"           {LOOKS['cable']} cable  {LOOKS['dsl']} dsl  {LOOKS['']} failed\n")
        flows = self.flows()
        start = time.monotonic()
        self.cable.fail()
        down = self.watch(new, start, self.monitor_said("cable is down", start))
        moment(down - start, self.message)
        attempts = new.so_far().since(start)
        moment(
            max(0.0, attempts.settled - start),
            f"and every new connection succeeds again ({len(attempts.failed)} did not till then)",
        )
        eventually(lambda: len(flows["cable"].so_far().seen) > 1)
        records = {name: recording.stop() for name, recording in flows.items()}
        moved = records["cable"]
        moment(
            max(gap.start + gap.seconds for gap in moved.gaps) - start,
            f"a long connection that was on cable is open again, on {self.name(moved.seen[1])}",
        )
        still = records["dsl"].longest_gap * 1000
        say(f"           one on dsl noticed nothing: its longest pause was {still:.0f} ms")
        self.shares({"dsl": 1})

    def back(self, new: Recording[Attempts]) -> None:
        """And back."""
        chapter("Back", "cable works again.")
        start = time.monotonic()
        self.cable.restore()
        up = self.watch(new, start, self.monitor_said("cable is up", start))
        moment(up - start, self.message)
        failed = len(new.so_far().since(start).failed)
        say(f"           connections that failed on the way back: {failed}")
        self.shares(SHARES)

    def run(self) -> None:
        """The whole story."""
        self.boot()
        new = fresh(self.client, STEP, timeout=0.5)
        self.cut(new)
        self.back(new)
        astray = sum(isp.spoofed.ipv4 + isp.spoofed.ipv6 for isp in self.lab.isps)
        say(f"\n           packets that left with the other provider's address: {astray}\n")


def main() -> int:
    """Tell it."""
    suite = sys.argv[1] if len(sys.argv) > 1 else "trixie"
    if suite not in SUITES:
        sys.stderr.write(f"usage: demo [{'|'.join(SUITES)}]\n")
        return 2
    if lacking := missing(suite):
        sys.stderr.write(f"demo: this needs {', '.join(lacking)}\n")
        return 3
    with Lab(suite, [Isp("dhcp"), Isp("static")], nib=True) as lab:
        Demo(lab).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A lab whose router runs nib, and what must hold at the end of every test with one."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest

from lab.errors import eventually
from lab.isp import Isp
from lab.world import Lab

# Two providers as most people have them: one by DHCP, one static.
HOME = """\
uplinks:
  cable: {device: wan1, address: dhcp, weight: 3}
  dsl: {device: wan2, address: 198.51.102.2/24, gateway: 198.51.102.1}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
"""
HOME_ISPS = (Isp(), Isp("static"))
# The same with IPv6: one announces it, the other is static again.
DUAL = """\
uplinks:
  cable: {device: wan1, address: dhcp, weight: 3}
  dsl:
    device: wan2
    address: [198.51.102.2/24, "2001:db8:2::2/64"]
    gateway: [198.51.102.1, "2001:db8:2::1"]
lans:
  home: {device: lan1, address: [192.168.10.1/24, "fd00:10::1/64"]}
"""
DUAL_ISPS = (Isp(ipv6="ra"), Isp("static", ipv6="static"))
# What tests wait for; people have the defaults.
FAST = "probe: {interval: 100ms, timeout: 200ms, fall: 3, rise: 3, damping: 0s, canary: 0s}\n"

# Old settings of networkd's own, and of the container: not about files that nib wrote.  And where
# there is udev, that a program's device (ppp0) may have another name next time: that is up to pppd.
UNRELATED = re.compile(r"hostname|BPF|pids\.max|fd limit|unpredictable", re.IGNORECASE)

Status = dict[str, dict[str, object]]


class NibLab(Lab):
    """A lab whose router was set up by `nib-gen --out /etc` and a boot, and by nothing else."""

    def __init__(
        self,
        suite: str,
        config: str = HOME + FAST,
        isps: Sequence[Isp] = HOME_ISPS,
        lans: int = 1,
        files: Mapping[str, str] | None = None,
        *,
        packages: Sequence[str] = (),
        shared: Collection[str] = (),
    ) -> None:
        super().__init__(suite, isps, lans, nib=True, files=files, packages=packages, shared=shared)
        self.configure(config)

    def configure(self, config: str) -> None:
        """Write balance.yaml and compile it into the router's /etc, as its user would."""
        self.router.put("/etc/nib/balance.yaml", config)
        self.router.run("nib-gen --out /etc")

    def status(self, family: int = 4) -> Status:
        """status.json: what the monitor says of one family, by uplink."""
        said = json.loads(self.router.read("/run/nib/status.json"))
        return {
            uplink["name"]: state
            for uplink in said["uplinks"]
            for state in uplink["families"]
            if state["family"] == family
        }

    def health(self, family: int = 4) -> dict[str, object]:
        """Every uplink's health."""
        return {name: state["health"] for name, state in self.status(family).items()}

    def until(self, within: float = 10, family: int = 4, **health: str) -> None:
        """Wait until the named uplinks are in these states."""
        eventually(lambda: health.items() <= self.health(family).items(), within)

    def start(self, **health: str) -> None:
        """Boot, and wait until the named uplinks are as said (all up, if none is named)."""
        self.router.boot()
        wanted = health or dict.fromkeys(self.plan_names(), "up")
        self.until(within=20, **wanted)

    def plan_names(self) -> list[str]:
        """The uplinks' names."""
        return [uplink["name"] for uplink in self.planned()]

    def has_ipv6(self) -> bool:
        """Whether any uplink may carry IPv6."""
        return any(6 in uplink["families"] for uplink in self.planned())

    def planned(self) -> list[dict[str, Any]]:
        """The uplinks of the plan."""
        uplinks: list[dict[str, Any]] = json.loads(self.router.read("/etc/nib/plan.json"))[
            "uplinks"
        ]
        return uplinks

    def drops(self, reason: str) -> int:
        """So many packets were dropped for that reason."""
        listed = self.router.run(f"nft list counter inet nib drop_{reason}")
        return int(re.findall(r"packets (\d+)", listed)[0])

    def listing(self) -> str:
        """Rules, routes and nib's table as the kernel has them, without what comes and goes.

        That is times, and the metric of a connected route: systemd 252 forgets it when it restarts.
        """
        commands = (
            "ip -4 rule",
            "ip -4 route show table all | grep -E '^default|^[0-9].* dev'",
            "ip -6 rule",
            "ip -6 route show table all default | sed 's/ expires [0-9]*sec//'",
            "nft -s list table inet nib | grep -v 'expires'",
        )
        return re.sub(r"(proto kernel.*) metric \d+", r"\1", self.router.run("; ".join(commands)))

    def settled(self, expected: str, within: float = 1.0) -> None:
        """Wait until the kernel has again what `listing` said."""

        def same() -> bool:
            assert sorted(self.listing().splitlines()) == sorted(expected.splitlines())
            return True

        eventually(same, within)

    def check(self) -> None:
        """What must hold whatever a test did."""
        assert self.spoofed() == {}
        if not self.has_ipv6():
            assert [isp.ipv6_packets for isp in self.isps] == [0] * len(self.isps)
        if self.router.booted:
            assert self.router.run("systemctl --failed --no-legend") == ""
            assert self.complaints() == []

    def complaints(self) -> list[str]:
        """networkd's warnings since the boot about files."""
        said = self.router.run("journalctl -b -u systemd-networkd -p warning -o cat --no-pager")
        return [line for line in said.splitlines() if line and not UNRELATED.search(line)]


class Watch:
    """A program in a unit of its own that watches, and what it said until now."""

    def __init__(self, lab: NibLab, name: str, command: str = "nib watch --json") -> None:
        self._router, self._name = lab.router, name
        kept = " ".join(
            f"-p Standard{stream.capitalize()}=file:/run/{name}.{stream}"
            for stream in ("output", "error")
        )
        lab.router.run(f"systemd-run -q --unit={name} {kept} {command}")
        eventually(self.out)

    def out(self) -> str:
        return self._router.read(f"/run/{self._name}.output")

    def err(self) -> str:
        return self._router.read(f"/run/{self._name}.error")

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """The whole lines of a kind."""
        heard = [json.loads(line) for line in self.out().splitlines(True) if line[-1] == "\n"]
        return [line for line in heard if line["kind"] == kind]

    def changes(self) -> list[tuple[str, str]]:
        """Who became what."""
        return [(line["uplink"], line["after"]) for line in self.lines("change")]


Routers = Callable[..., NibLab]


@pytest.fixture
def routers(suite: str) -> Iterator[Routers]:
    """Make labs with nib; each is checked and ended after the test."""
    made: list[NibLab] = []

    def make(*args: object, **kwargs: object) -> NibLab:
        made.append(NibLab(suite, *args, **kwargs))  # type: ignore[arg-type]
        return made[-1]

    try:
        yield make
        for lab in made:
            lab.check()
    finally:
        for lab in made:
            lab.close()

"""From Net-ISP-Balance to nib: its balance.conf and scripts become a balance.yaml and a report."""

from collections.abc import Iterator
from dataclasses import dataclass

from nib.importer.actions import Actions, translate_forced
from nib.importer.calls import read_shell
from nib.importer.conf import read_conf
from nib.importer.draft import Draft
from nib.importer.firewall import translate_firewall
from nib.importer.fitting import fitted
from nib.importer.interfaces import read_interfaces
from nib.importer.options import common_targets, translate_mode, translate_options
from nib.importer.perl import read_perl
from nib.importer.remarks import Kind, Remark, Source, Spot
from nib.importer.services import translate_services
from nib.problem import Path, Place, Problem, Rejected, in_order, report

HEAD = ("Translated from Net-ISP-Balance by nib import.  Look through it, then: nib-gen --check",)

SCRIPTS: dict[str, Path] = {
    "pre-run": ("hooks",),
    "routes": ("routes",),
    "firewall": ("firewall",),
    "post-run": ("hooks",),
}
"""The directories of scripts in the order they ran, and where what is left out of them belongs."""


@dataclass(frozen=True, slots=True)
class Old:
    """All files of the old configuration that can be found.

    `scripts` are those of each directory in SCRIPTS, in the order they ran; `programs` the names of
    the files that ran when an uplink went up or down; `unread` those of scripts that are no text;
    `interfaces` is ifupdown's file.
    """

    conf: Source
    scripts: dict[str, tuple[Source, ...]]
    programs: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    interfaces: Source | None = None

    def sources(self) -> Iterator[Source]:
        """The files that remarks are about, in the order of the report."""
        yield self.conf
        for directory in SCRIPTS:
            yield from self.scripts.get(directory, ())
        yield from (Source(name, "") for name in (*self.unread, *self.programs))


@dataclass(frozen=True, slots=True)
class Imported:
    """The new balance.yaml, which compiles, and what there is to say about it."""

    text: str
    uplinks: int
    lans: int
    remarks: tuple[Remark, ...]
    report: str

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return all(remark.kind is Kind.NOTE for remark in self.remarks)

    def summary(self) -> str:
        """How much there is: `2 uplinks, 1 lan; 3 left out, 1 note`."""
        left = sum(remark.kind is Kind.LEFT_OUT for remark in self.remarks)
        notes = len(self.remarks) - left
        parts = (
            f"{self.uplinks} uplink{'' if self.uplinks == 1 else 's'}, "
            f"{self.lans} lan{'' if self.lans == 1 else 's'}"
        )
        return f"{parts}; {left} left out, {notes} note{'' if notes == 1 else 's'}"


def translate(old: Old) -> Imported:
    """Translate what can be, keep the rest as comments, and tell of both.

    Raises Rejected if nothing of use would come out: without an uplink there is no balance.yaml.
    """
    to = Draft()
    conf = read_conf(old.conf, to.notes)
    failover = translate_mode(conf, to)
    links = read_interfaces(old.interfaces) if old.interfaces else {}
    services = translate_services(conf, failover, links, to)
    translate_options(conf, to)
    common_targets(to)
    actions = Actions(services, to)
    for directory, path in SCRIPTS.items():
        for source in old.scripts.get(directory, ()):
            if source.name.endswith(".pl"):
                calls = read_perl(source, conf, path, to.notes)
            else:
                calls = read_shell(source, path, to.notes)
            actions.read(calls, path)
    translate_forced(actions, failover)
    translate_firewall(actions)
    for name in old.unread:
        to.notes.left_out(_whole(name), ("hooks",), "this is no text that nib import can read")
    for name in old.programs:
        event = name.split("/")[-2]
        why = f"it is not copied to /etc/nib/hooks/{event}, where it would run after the flip"
        hint = "it gets the same arguments there, but it is not run as root"
        to.notes.left_out(_whole(name), ("hooks",), why, hint)
    text = fitted(to, HEAD) if to.data.get("uplinks") else None
    if text is None:
        raise _rejected(old, to)
    return Imported(
        text,
        len(to.data["uplinks"]),
        len(to.data.get("lans", {})),
        tuple(to.notes.remarks),
        "".join(_report(source, to.notes.remarks) for source in old.sources()),
    )


def _whole(name: str) -> Spot:
    return Spot(name, Place(1, 1), "")


def _rejected(old: Old, to: Draft) -> Rejected:
    message = "no service with the role isp is left, so there is nothing to translate"
    left = [_problem(one) for one in to.notes.remarks if one.spot.file == old.conf.name]
    return Rejected(old.conf.name, old.conf.text, [Problem(None, (), message), *left])


def _report(source: Source, remarks: list[Remark]) -> str:
    mine = (_problem(remark) for remark in remarks if remark.spot.file == source.name)
    return report(source.name, source.text, in_order(mine))


def _problem(remark: Remark) -> Problem:
    return Problem(remark.spot.place, (), f"{remark.kind}: {remark.message}", remark.hint)

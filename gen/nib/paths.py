"""Where the files will be when they are used, and where the programs are that they name."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

# What needs no quotes in a unit, in a ruleset of nft and in a pattern.
_PLAIN = re.compile(r"(/[A-Za-z0-9_.+=,@-]+)+")


@dataclass(frozen=True, slots=True)
class Paths:
    """How the files name programs and each other; the defaults are those of Debian."""

    etc: str = "/etc"
    nft: str = "nft"
    ip: str = "ip"
    nib_monitor: str = "nib-monitor"
    nib_notify: str = "nib-notify"
    nib_history: str = "nib-history"
    nib_metrics: str = "nib-metrics"
    nib_mail: str = "nib-mail"
    sendmail: str = "/usr/sbin/sendmail"
    setpriv: str = "setpriv"
    systemd_sysusers: str = "systemd-sysusers"
    systemd_networkd_wait_online: str = "/usr/lib/systemd/systemd-networkd-wait-online"


DEBIAN = Paths()

PROGRAMS = tuple(field.name.replace("_", "-") for field in fields(Paths) if field.name != "etc")


def placed(etc: str, programs: Iterable[str]) -> Paths:
    """The paths for `etc` and for programs given as `NAME=PATH`; the others are Debian's.

    Raises ValueError, in words, for what is no absolute path of plain characters or no program.
    """
    paths = replace(DEBIAN, etc=_plain("--etc", etc))
    for given in programs:
        name, equals, path = given.partition("=")
        if not equals or name not in PROGRAMS:
            raise ValueError(f"--program {given}: write NAME=PATH; NAME is {', '.join(PROGRAMS)}")
        paths = replace(paths, **{name.replace("-", "_"): _plain(f"--program {name}", path)})
    return paths


def _plain(option: str, path: str) -> str:
    if not _PLAIN.fullmatch(path):
        raise ValueError(
            f"{option}: {path!r} is no absolute path of letters, digits and _ . + = , @ -"
        )
    return path

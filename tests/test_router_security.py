"""What the units of a really booted router could do if somebody took them over."""

import re

import pytest

from lab.errors import eventually
from nib_lab import FAST, HOME, Routers

pytestmark = pytest.mark.lab

# At most this, as systemd-analyze counts it, from 0 to 10.
EXPOSURE = {
    "nib-monitor": 2.0,
    "nib-notify": 1.5,
    "nib-history": 1.5,
    "nib-metrics": 1.5,
    "nib-nftables": 1.5,
}
# Before 257 systemd cannot become another user behind filters and leave setgid programs alone: for
# a moment setpriv has the capabilities that it takes.
MAIL_EXPOSURE = {"bookworm": 1.8, "trixie": 1.5}

# A setgid program of a sendmail's (postfix) sees what it has, and what it could have.
SENDMAIL = "#!/bin/sh\nexec /usr/sbin/enqueue -Ei 'cap|nonew|seccomp:|gid' /proc/self/status\n"
NONE = "0" * 16


def test_units_can_do_little(routers: Routers, suite: str) -> None:
    lab = routers(HOME + FAST + "notify: {mail: noc@example.org}\nmetrics: {}\n")
    lab.start()
    for unit, most in (EXPOSURE | {"nib-mail@x": MAIL_EXPOSURE[suite]}).items():
        said = lab.router.run(f"systemd-analyze security --no-pager {unit}.service")
        level = re.search(r"Overall exposure level for .*: ([0-9.]+) ", said)
        assert level and float(level[1]) <= most, (unit, said)


def test_sendmail_has_no_capability_and_is_setgid(routers: Routers) -> None:
    lab = routers(HOME + FAST + "notify: {mail: noc@example.org}\n")
    lab.router.put("/usr/sbin/sendmail", SENDMAIL)
    lab.router.run(
        "chmod 755 /usr/sbin/sendmail;"
        "cd /usr/sbin; cp /usr/bin/grep enqueue; chgrp games enqueue; chmod 2755 enqueue"
    )
    lab.start()
    lab.isps[0].fail()
    eventually(lambda: "NoNewPrivs" in lab.router.journal("nib-mail@*"), 40)
    said = dict(re.findall(r"(\w+):\t(.*)", lab.router.journal("nib-mail@*")))
    assert {said[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {NONE}
    assert (said["NoNewPrivs"], said["Seccomp"]) == ("0", "2")
    own, effective, *_ = said["Gid"].split()
    assert effective == "60" != own

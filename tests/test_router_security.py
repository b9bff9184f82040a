"""What the units of a really booted router could do if somebody took them over."""

import re

import pytest

from lab.errors import eventually
from nib_lab import FAST, HOME, Routers

pytestmark = pytest.mark.lab

# At most this, as systemd-analyze counts it, from 0 to 10.  A sendmail needs rights of its own, and
# some deliver themselves: into mailboxes and out to the world.
EXPOSURE = {
    "nib-monitor": 2.0,
    "nib-notify": 1.5,
    "nib-history": 1.5,
    "nib-metrics": 1.5,
    "nib-nftables": 1.5,
    "nib-mail@x": 2.4,
}

# What one that is setgid (postfix) or setuid (exim) needs.
SENDMAIL = "#!/bin/sh\ngrep NoNewPrivs /proc/self/status >/var/spool/recorded\n"


def test_units_can_do_little(routers: Routers) -> None:
    lab = routers(HOME + FAST + "notify: {mail: noc@example.org}\nmetrics: {}\n")
    lab.router.put("/usr/sbin/sendmail", SENDMAIL)
    lab.router.run(
        "chmod 755 /usr/sbin/sendmail; touch /var/spool/recorded; chmod 666 /var/spool/recorded"
    )
    lab.start()
    for unit, most in EXPOSURE.items():
        said = lab.router.run(f"systemd-analyze security --no-pager {unit}.service")
        level = re.search(r"Overall exposure level for .*: ([0-9.]+) ", said)
        assert level and float(level[1]) <= most, (unit, said)
    lab.isps[0].fail()
    eventually(lambda: "NoNewPrivs:\t0" in lab.router.read("/var/spool/recorded"), 40)

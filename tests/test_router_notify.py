"""Hooks and mail of a really booted router, when an uplink dies and comes back."""

import json
import re
import time
from pathlib import Path

import pytest

import smtp
from lab.errors import eventually
from lab.image import FURTHER
from nib_lab import FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

NOTIFY = "notify: {mail: noc@example.org, long_down: 8s}\nhooks: {timeout: 2s}\n"

# Keeps what it is given; like a real one it leaves its queue to a group of its own.
SENDMAIL = """\
#!/bin/sh
{ echo "as $(id -un) for $*"; cat; echo "--"; } >> /var/spool/recorded/mail
"""

HOOK = """\
#!/bin/sh
echo "$(id -u) $* $NIB_UPLINK $NIB_REASON $(cat)" >> "$STATE_DIRECTORY/ran"
"""

HANGING = "#!/bin/sh\nsleep 60\n"

RAN = "/var/lib/nib-notify/ran"


def prepare(lab: NibLab) -> None:
    lab.router.put("/usr/sbin/sendmail", SENDMAIL)
    lab.router.run(
        "chmod 755 /usr/sbin/sendmail; mkdir -p /var/spool/recorded; chmod 777 /var/spool/recorded"
    )
    for state in ("up", "down", "long_down"):
        path = f"/etc/nib/hooks/{state}.d"
        lab.router.run(f"mkdir -p {path}")
        lab.router.put(f"{path}/20-record", HOOK)
        lab.router.run(f"chmod 755 {path}/20-record")


def ran(lab: NibLab) -> list[list[str]]:
    """The words of every run of the recording hook."""
    return [line.split() for line in lab.router.run(f"cat {RAN} || true").splitlines()]


def mails(lab: NibLab) -> list[str]:
    said = lab.router.run("cat /var/spool/recorded/mail || true")
    return [mail.strip() for mail in said.split("\n--\n") if mail.strip()]


def test_a_cut_and_a_return_are_told(routers: Routers) -> None:
    lab = routers(HOME + FAST + NOTIFY)
    lab.router.boot()
    prepare(lab)
    lab.until(20, cable="up", dsl="up")
    lab.router.run("systemctl is-active nib-notify nib-mail.socket")
    assert ran(lab) == []

    cut_s = time.time()
    lab.isps[0].fail()
    eventually(lambda: len(ran(lab)) == 1)
    words = ran(lab)[0]
    assert words[0] != "0"
    state, name, target, device, mail, *counters = words[1:13]
    assert (state, name, device, mail) == ("down", "cable", "wan1", "noc@example.org")
    assert target.count(".") == 3
    assert all(counter.isdigit() for counter in counters)
    source, before, since = words[14:17]
    assert source.count(".") == 3 and before == "up"
    assert abs(int(since) - cut_s) < 5
    assert words[17] == "cable"
    text = " ".join(words)
    change = json.loads(text[text.index("{") :])
    assert (change["state"], change["family"]) == ("down", 4)

    eventually(lambda: len(mails(lab)) == 1)
    assert mails(lab)[0].startswith("as nib-mail for -i noc@example.org\n")
    assert "Subject: router: cable is down in IPv4" in mails(lab)[0]
    eventually(lambda: [words[1] for words in ran(lab)] == ["down", "long_down"], 12)

    lab.isps[0].restore()
    eventually(lambda: [words[1] for words in ran(lab)] == ["down", "long_down", "up"])
    eventually(lambda: len(mails(lab)) >= 2)
    assert "cable is up again in IPv4" in mails(lab)[-1]


def test_a_hanging_hook_delays_nothing(routers: Routers) -> None:
    lab = routers(HOME + FAST + NOTIFY)
    lab.router.boot()
    prepare(lab)
    lab.router.put("/etc/nib/hooks/down.d/10-hangs", HANGING)
    lab.router.put("/etc/nib/hooks/down.d/15-fails", "#!/bin/sh\nexit 7\n")
    lab.router.put("/etc/nib/hooks/down.d/17-open", HANGING)
    lab.router.run("cd /etc/nib/hooks/down.d; chmod 755 10-hangs 15-fails")
    lab.until(20, cable="up", dsl="up")

    # a monitor that restarts is found again
    lab.router.run("systemctl restart nib-monitor.service")
    lab.until(cable="up", dsl="up")
    time.sleep(1.5)
    began = time.monotonic()
    lab.isps[0].fail()
    lab.until(3, cable="down", dsl="up")
    assert time.monotonic() - began < 2.5
    assert ran(lab) == []
    eventually(lambda: [words[1] for words in ran(lab)] == ["down"])
    said = lab.router.journal("nib-notify")
    assert "10-hangs was not done within 2 s" in said
    assert "15-fails ended with status 7" in said
    assert "17-open is not executable" in said
    lab.router.run("pgrep -x sleep && exit 1 || true")


@pytest.mark.parametrize("program", ["exim", "postfix"])
def test_a_real_mail_program_delivers(routers: Routers, suite: str, program: str) -> None:
    """One is given the mail by SMTP, for its sendmail is setuid root; that of the other is run."""
    config = HOME + FAST + "notify: {mail: anna}\n"
    lab = routers(config, packages=FURTHER[program][suite])
    lab.router.run("useradd -m anna")
    lab.start()
    lab.isps[0].fail()
    eventually(lambda: "Subject: router: cable is down" in lab.router.read("/var/mail/anna"), 90)
    mail = lab.router.read("/var/mail/anna")
    for name in ("From: .*nib-mail@", "Date: ", "Message-ID: "):
        assert re.search(f"^{name}", mail, re.MULTILINE | re.IGNORECASE), mail
    assert "cable is down in IPv4 since " in mail
    assert ("with esmtp (Exim" in mail) == (program == "exim")
    assert lab.router.run("cat /var/log/exim4/paniclog 2>/dev/null || true") == ""


RELAYS = {
    "dma": ("/etc/dma/dma.conf", "SMARTHOST 127.0.0.1\nPORT 2525\n"),
    "msmtp": ("/etc/msmtprc", "account default\nhost 127.0.0.1\nport 2525\nfrom a@example.org\n"),
    "nullmailer": ("/etc/nullmailer/remotes", "127.0.0.1 smtp --port=2525\n"),
}


@pytest.mark.parametrize("program", sorted(RELAYS))
def test_a_real_mail_program_sends_on(routers: Routers, suite: str, program: str) -> None:
    """These have no daemon that listens, and send all mail to a server of the provider's."""
    lab = routers(HOME + FAST + NOTIFY, packages=FURTHER[program][suite])
    lab.router.put(*RELAYS[program])
    lab.router.put("/root/smtp.py", Path(smtp.__file__).read_text())
    lab.start()
    lab.router.run("systemd-run -q --unit=server python3 /root/smtp.py 2525")
    lab.isps[0].fail()
    eventually(lambda: "Subject: router: cable is down" in lab.router.journal("server"), 60)
    assert "RCPT TO:<noc@example.org>" in lab.router.journal("server")


def test_it_can_do_little(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    assert lab.router.run("systemctl is-active nib-notify") == "active\n"
    said = lab.router.run("systemd-analyze security --no-pager nib-notify.service | tail -n 1")
    level = re.search(r"Overall exposure level for nib-notify.service: ([0-9.]+)", said)
    assert level and float(level[1]) <= 1.5

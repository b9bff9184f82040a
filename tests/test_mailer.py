"""nib-mail: whom it hands a mail to, and what it says if that cannot be done."""

import io
import os
import re
import subprocess
import sys
from email import message_from_bytes
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import smtp
from nib.host import Refused
from nib.notifier import mailer

PROGRAM = "import sys; from nib.notifier.mailer import main; sys.exit(main())"
SETUID_ROOT = Path("/usr/bin/passwd")
MAIL = b"To: anna\nSubject: router: cable is down\n\nit is down\n.\nFrom here on too \xff\n"


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailer, "WAIT_S", 5.0)
    monkeypatch.setattr(mailer, "AGAIN_S", 0.1)
    monkeypatch.setattr(mailer, "MAILNAME", tmp_path / "mailname")


def call(sendmail: Path, to: str = "anna") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, sendmail, to],
        input=MAIL.decode(errors="replace"),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def submit(server: smtp.Server, to: str = "noc@example.org", text: bytes = MAIL) -> smtp.Taken:
    mailer.submit(text, to, ("127.0.0.1", server.server_address[1]))
    (taken,) = server.taken
    return taken


def test_a_sendmail_takes_its_place(tmp_path: Path) -> None:
    sendmail = tmp_path / "sendmail"
    sendmail.write_text(f'#!/bin/sh\necho "$PPID $*"; cat > {tmp_path}/mail; exit 75\n')
    sendmail.chmod(0o2755)
    done = call(sendmail, "noc@example.org")
    assert (done.returncode, done.stderr) == (75, "")
    assert done.stdout == f"{os.getpid()} -i noc@example.org\n"
    assert (tmp_path / "mail").read_text() == MAIL.decode(errors="replace")


@pytest.mark.parametrize("there", [True, False])
def test_a_sendmail_that_cannot_be_run(tmp_path: Path, there: bool) -> None:
    sendmail = tmp_path / "sendmail"
    if there:
        sendmail.write_text("")
    done = call(sendmail)
    why = (
        "permission denied" if there else "no such file or directory; is a mail program installed?"
    )
    assert done.returncode == 3
    assert done.stderr == f"nib-mail: no mail was sent: {sendmail}: {why}\n"


def test_who_needs_root(tmp_path: Path) -> None:
    link = tmp_path / "sendmail"
    link.symlink_to(SETUID_ROOT)
    assert mailer.needs_root(str(link))
    assert not mailer.needs_root("/usr/bin/env")
    own = tmp_path / "own"
    own.write_text("")
    if os.getuid() == 0:
        os.chown(own, 8, 8)
    own.chmod(0o6755)
    assert not mailer.needs_root(str(own))


def test_it_is_completed_and_else_as_it_was() -> None:
    with smtp.listening({}) as server:
        taken = submit(server)
    assert taken.envelope[0] == "ehlo localhost"
    assert re.fullmatch(r"mail FROM:<nib-mail@mx\.example\.org>.*", taken.envelope[1])
    assert taken.envelope[2:] == ["rcpt TO:<noc@example.org>"]
    mail = message_from_bytes(taken.mail)
    assert mail["From"] == "nib-mail@mx.example.org"
    assert parsedate_to_datetime(mail["Date"]).tzinfo
    assert re.fullmatch(r"<[^@]+@mx\.example\.org>", mail["Message-ID"])
    headers, _, body = taken.mail.partition(b"\r\n\r\n")
    assert headers.startswith(b"To: anna\r\nSubject: router: cable is down\r\nFrom: ")
    assert body == MAIL.partition(b"\n\n")[2].replace(b"\n", b"\r\n")


ADDED = {"From": "a@b", "Date": "now"}


@pytest.mark.parametrize(
    ("text", "is_sent"),
    [
        (b"from: me\nDATE : x\n\nhi\n", b"from: me\nDATE : x\n\nhi\n"),
        (b"Subject: s\n date: x\n\nTo: anna\n", b"Subject: s\n date: x\n+\n\nTo: anna\n"),
        (b"TO:\tanna \r\nDate: x\r\n\r\n\r\nhi", b"TO: anna@b\nDate: x\nFrom: a@b\n\n\nhi"),
        (b"To: anna, otto\n", b"To: anna, otto\n+\n\n"),
        (b"no header\nDate: x\n\n.\n", b"+\n\nno header\nDate: x\n\n.\n"),
        (b"\nDate: x\n", b"+\n\nDate: x\n"),
        (b"To: \xff\0\n\n\xff\0\n", b"To: \xff\0\n+\n\n\xff\0\n"),
        (b"", b"+\n\n"),
    ],
)
def test_what_is_there_stays(text: bytes, is_sent: bytes) -> None:
    is_sent = is_sent.replace(b"+", b"From: a@b\nDate: now").replace(b"\n", b"\r\n")
    assert mailer.completed(text, "anna", "anna@b", ADDED) == is_sent


@given(st.lists(st.sampled_from([b"To: anna", b"Date:", b"\n", b"\r", b" ", b":", b"\xff", b"x"])))
def test_any_mail_can_be_sent(parts: list[bytes]) -> None:
    sent = mailer.completed(b"".join(parts), "anna", "anna@b", ADDED)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", sent)
    head, blank, _ = sent.partition(b"\r\n\r\n")
    assert blank and len(re.findall(rb"(?im)^date[ \t]*:", head)) >= 1


@pytest.mark.parametrize("mailname", ["example.net\n", "", "münchen.example\n", None])
def test_a_user_of_this_host(mailname: str | None) -> None:
    if mailname is not None:
        mailer.MAILNAME.write_text(mailname)
    with smtp.listening({}) as server:
        taken = submit(server, "anna")
    domain = "example.net" if mailname == "example.net\n" else "mx.example.org"
    assert taken.envelope[-1] == f"rcpt TO:<anna@{domain}>"
    mail = message_from_bytes(taken.mail)
    assert (mail["From"], mail["To"]) == (f"nib-mail@{domain}", f"anna@{domain}")


@pytest.mark.parametrize(
    ("command", "answer", "said"),
    [
        ("RCPT", "550 relay not\tpermitted", "not take it for x@y: 550 relay not permitted"),
        ("EHLO", "421 bye", "not take it: 421 bye"),
        ("MAIL", "451 later", "not take it: 451 later"),
        ("DATA", "554 no", "not take it: 554 no"),
    ],
)
def test_a_refusal(command: str, answer: str, said: str) -> None:
    with smtp.listening({command: answer}) as server, pytest.raises(Refused) as refused:
        submit(server, "x@y")
    assert said in str(refused.value)
    assert server.taken == []


def test_a_daemon_that_only_starts() -> None:
    with smtp.listening({}, after_s=0.5) as server:
        assert submit(server).envelope


def test_what_the_journal_hears(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with smtp.listening({}) as server:
        port = server.server_address[1]
    monkeypatch.setattr(mailer, "WAIT_S", 0.2)
    monkeypatch.setattr(mailer, "DAEMON", ("127.0.0.1", port))
    monkeypatch.setattr(sys, "argv", ["nib-mail", str(SETUID_ROOT), "anna"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(MAIL)))
    assert mailer.main() == 3
    assert capfd.readouterr().err == (
        f"nib-mail: no mail was sent: 127.0.0.1:{port}: connection refused; {SETUID_ROOT} is "
        "setuid root, so its daemon has to take mail from this host by SMTP\n"
    )

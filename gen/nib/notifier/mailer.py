"""nib-mail: hands the mail on its standard input to the mail program of this host.

By its sendmail, which takes the place of this program, whatever mail program it belongs to.  Only
one that is setuid root (exim) is not run: it needs rights of root's, which the unit does not have.
The daemon to such a one is given the mail by SMTP, on this host.
"""

import argparse
import os
import re
import smtplib
import stat
import time
from collections.abc import Mapping
from email.utils import formatdate, make_msgid
from pathlib import Path

from nib import __version__, host
from nib.host import Refused, reason
from nib.notices import MAIL_USER

PROGRAM = "nib-mail"
DAEMON = ("127.0.0.1", 25)
MAILNAME = Path("/etc/mailname")

PATIENCE_S = 20.0
"""How long the daemon may take for an answer: it may ask a DNS that is not reached."""

WAIT_S = 30.0
"""How long a daemon that does not listen is waited for: it may just start, or start anew."""

AGAIN_S = 1.0

_HEADERS = re.compile(
    rb"(?P<head>(?:[!-9;-~]+[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*)*+)(?:\n(?P<body>.*))?\Z", re.DOTALL
)


def main() -> int:
    """Parse arguments, hand over one mail; 3 if it could not be.  A sendmail that is run: as it."""
    return host.guard(PROGRAM, _run)


def _run() -> int:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Send the mail on standard input, by this host's mail program."
    )
    parser.add_argument("sendmail", help="its sendmail")
    parser.add_argument("to", help="an address, or a user of this host")
    parser.add_argument("--version", action="version", version=f"nib {__version__}")
    given = parser.parse_args()
    if needs_root(given.sendmail):
        try:
            submit(host.read(host.STDIN, -1), given.to, DAEMON)
        except Refused as problem:
            raise Refused(
                f"no mail was sent: {problem}; {given.sendmail} is setuid root, so its daemon has "
                "to take mail from this host by SMTP"
            ) from None
        return host.FINE
    try:
        os.execv(given.sendmail, (given.sendmail, "-i", given.to))
    except OSError as problem:
        raise Refused(f"no mail was sent: {given.sendmail}: {reason(problem)}") from None


def needs_root(sendmail: str) -> bool:
    """Whether it gets all rights of root when it is run, or would.  Raises Refused."""
    try:
        found = Path(sendmail).stat()
    except OSError as problem:
        raise Refused(
            f"no mail was sent: {sendmail}: {reason(problem)}; is a mail program installed?"
        ) from None
    return bool(found.st_mode & stat.S_ISUID) and found.st_uid == 0


def submit(text: bytes, to: str, daemon: tuple[str, int]) -> None:
    """Give a mail to the daemon by SMTP.  Raises Refused."""
    where = f"{daemon[0]}:{daemon[1]}"
    try:
        server = _connected(daemon)
        try:
            _hand_over(server, text, to)
        finally:
            # without a QUIT, whose answer would say nothing of the mail
            server.close()
    except smtplib.SMTPRecipientsRefused as problem:
        ((address, (code, said)),) = problem.recipients.items()
        raise Refused(f"{where} does not take it for {address}: {_answer(code, said)}") from None
    except smtplib.SMTPResponseException as problem:
        answer = _answer(problem.smtp_code, problem.smtp_error)
        raise Refused(f"{where} does not take it: {answer}") from None
    except OSError as problem:
        raise Refused(f"{where}: {reason(problem)}") from None


def _hand_over(server: smtplib.SMTP, text: bytes, to: str) -> None:
    code, greeting = server.ehlo()
    if code != 250:
        raise smtplib.SMTPHeloError(code, greeting)
    domain = _domain(greeting)
    sender = f"{MAIL_USER}@{domain}"
    whole = to if "@" in to else f"{to}@{domain}"
    added = {
        "From": sender,
        "Date": formatdate(localtime=True),
        "Message-ID": make_msgid(domain=domain),
    }
    server.sendmail(sender, whole, completed(text, to, whole, added))


def _connected(daemon: tuple[str, int]) -> smtplib.SMTP:
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            return smtplib.SMTP(*daemon, local_hostname="localhost", timeout=PATIENCE_S)
        except ConnectionRefusedError:
            if time.monotonic() > until_s:
                raise
        time.sleep(AGAIN_S)


def _domain(greeting: bytes) -> str:
    """What completes an address: Debian's name for that, or else what the daemon calls itself.

    An exim that is run as sendmail does the same.
    """
    try:
        return MAILNAME.read_text("ascii").split()[0]
    except (OSError, ValueError, IndexError):
        return (greeting.decode("ascii", "ignore").split() or ["localhost"])[0]


def completed(text: bytes, to: str, whole: str, added: Mapping[str, str]) -> bytes:
    """A mail as SMTP wants it, with the headers that a sendmail would have added.

    A header `To` that is `to` becomes `whole`: exim refuses a user's name alone there, too.  What
    does not begin with headers is all body, and what is there stays as it is.
    """
    lines = re.sub(rb"\r\n?", b"\n", text)
    found = _HEADERS.match(lines)
    head, body = (found["head"], found["body"] or b"") if found else (b"", lines)
    alone = rb"(?im)^(to[ \t]*:)[ \t]*" + re.escape(to.encode()) + rb"[ \t]*$"
    head = re.sub(alone, lambda it: b"%b %b" % (it[1], whole.encode()), head)
    there = {one.lower() for one in re.findall(rb"(?m)^[^ \t:]+", head)}
    for key, value in added.items():
        if key.lower().encode() not in there:
            head += f"{key}: {value}\n".encode()
    return (head + b"\n" + body).replace(b"\n", b"\r\n")


def _answer(code: int, said: bytes | str) -> str:
    words = said.decode(errors="replace") if isinstance(said, bytes) else said
    return f"{code} {' '.join(words.split())}"

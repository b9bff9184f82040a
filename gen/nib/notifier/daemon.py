"""nib-notify: listens to the monitor; hooks and messages have threads of their own.

What is slow here, a program or a server, delays the next of its kind, and nothing else.
"""

import argparse
import os
import queue
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from nib import __version__, hooks, host, plan
from nib.control import Away, ask
from nib.host import Refused, Wrong, clock, command, reason, say
from nib.notices import MAIL_SOCKET
from nib.notifier import telling
from nib.notifier.core import Event, Memory, Report, RunHooks, leave, step
from nib.plan import Plan
from nib.stream import Request, Told, from_json

PROGRAM = "nib-notify"
ETC = Path("/etc")

AGAIN_S = 1.0
"""How soon a monitor that went away is looked for."""

PATIENCE_S = 10.0
"""How long a server may take."""

POST_AGAIN_S = (5.0, 30.0, 120.0, 600.0, 1800.0)
"""Between the tries of a webhook: the way to it may just have died, or every way has."""

T = TypeVar("T")


def main() -> int:
    """Parse arguments, listen for ever; 2 a rejected plan, 3 the host refused."""
    return host.guard(PROGRAM, _run)


def _run() -> int:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Run hooks and tell people when uplinks come and go."
    )
    parser.add_argument(
        "--plan", type=Path, default=ETC / "nib/plan.json", help="default: %(default)s"
    )
    parser.add_argument("--version", action="version", version=f"nib {__version__}")
    file = parser.parse_args().plan
    try:
        of = plan.from_json(host.read(str(file), -1).decode())
    except ValueError as problem:
        raise Wrong(f"{file}: {problem}; run `nib apply` to write it anew") from None
    hook_events = _worker(partial(run_hooks, ETC, of))
    reports = _worker(partial(report, of))
    memory = Memory()
    while True:
        try:
            for line in ask(Request("watch")):
                told = _told(line)
                if told is None:
                    continue
                memory, actions = step(memory, told, of.notices.long_down_ms / 1000)
                for action in actions:
                    match action:
                        case RunHooks(event):
                            hook_events(event)
                        case Report(events):
                            reports(events)
        except Away:
            pass
        memory, rest = leave(memory)
        for one in rest:
            reports(one.events)
        time.sleep(AGAIN_S)


def _told(line: str) -> Told | None:
    """A line of the stream; None for one that this nib does not know."""
    try:
        return from_json(line)
    except ValueError:
        return None


def _worker(work: Callable[[T], None]) -> Callable[[T], None]:
    """A thread that works on one thing after another; to hand it the next."""
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()

    def run() -> None:
        while True:
            work(waiting.get())

    threading.Thread(target=run, daemon=True).start()
    return waiting.put


# -- hooks -----------------------------------------------------------------------------------------


def run_hooks(etc: Path, of: Plan, event: Event) -> None:
    """Run the programs for an event in order of name; the journal hears what they say."""
    try:
        programs = hooks.programs(etc / hooks.HOOKS / f"{event.state}.d")
    except Refused as problem:
        say(str(problem))
        return
    for path in programs:
        say(f"{path}: {telling.headline(event)}")
        try:
            outcome = command(
                (str(path), *telling.arguments(event, of)),
                of.notices.hook_timeout_ms / 1000,
                telling.to_json(event, _clock),
                telling.environment(event, of, _clock),
                shown=str(path),
            )
        except Refused as problem:
            say(str(problem))
            continue
        for line in outcome.said.splitlines():
            say(f"  {line}")
        if outcome.status:
            say(f"{path} ended with status {outcome.status}")


# -- reports ---------------------------------------------------------------------------------------


def report(of: Plan, events: tuple[Event, ...]) -> None:
    """Send a mail, and call the webhook, as the plan says."""
    name = socket.gethostname()
    if of.notices.mail:
        send_mail(MAIL_SOCKET, telling.mail(events, name, of.notices.mail, _clock))
    if of.notices.webhook_file:
        post(telling.webhook(events, name, _clock))


def send_mail(path: str, text: bytes) -> None:
    """Hand a mail to nib-mail.socket, whose unit passes it on; the journal hears if not."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(PATIENCE_S)
            channel.connect(path)
            channel.sendall(text)
    except OSError as problem:
        say(f"no mail was sent: {path}: {reason(problem)}")


def post(text: str) -> None:
    """POST to the URL in the credential `webhook`; a few tries, then the journal hears why not.

    The URL is a secret, and is not repeated.
    """
    try:
        url = (Path(os.environ["CREDENTIALS_DIRECTORY"]) / "webhook").read_text().strip()
        if not url.startswith(("https://", "http://")):
            raise ValueError
        request = urllib.request.Request(
            url, text.encode(), {"Content-Type": "application/json", "User-Agent": PROGRAM}
        )
    except (KeyError, OSError, ValueError):
        say("the webhook was not called: its file must hold one URL")
        return
    for pause_s in (*POST_AGAIN_S, None):
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S):
                return
        except (OSError, ValueError) as problem:
            why = getattr(problem, "code", None) or getattr(problem, "reason", None) or problem
        if pause_s is not None:
            time.sleep(pause_s)
    say(f"the webhook was not called: {why}")


def _clock(time_s: float) -> str:
    return clock(time.time() - time_s)

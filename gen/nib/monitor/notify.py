"""sd_notify(3) and sd_listen_fds(3): what passes between us and systemd is stable by promise."""

import contextlib
import os
import socket

# The loop waits for nobody, or hardly.
PATIENCE_S = 0.1

FIRST_PASSED = 3


def notify(*fields: str) -> None:
    """Tell the service manager `KEY=value` fields; without one (no $NOTIFY_SOCKET) do nothing.

    One that does not listen is no reason to stop: it will say so itself, by its time-outs.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.settimeout(PATIENCE_S)
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.send("\n".join(fields).encode())


def watchdog_s() -> float | None:
    """How often the manager wants a sign of life, in seconds; None if it does not."""
    microseconds = os.environ.get("WATCHDOG_USEC")
    return int(microseconds) / 1e6 if microseconds else None


def passed_socket() -> socket.socket | None:
    """The listening socket that the manager made for us; None if it made none."""
    # the variables are inherited, and meant for one process
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    passed = socket.socket(fileno=FIRST_PASSED)
    passed.set_inheritable(False)
    return passed

"""The operator's end of the control socket."""

import socket
from collections.abc import Iterator
from contextlib import suppress

from nib.host import Refused, reason
from nib.stream import GROUP, SOCKET, Command, Request, request_to_json


class Away(Refused):
    """The monitor does not listen."""


PATIENCE_S = 30.0
"""A monitor that lives says something about every two seconds."""


def ask(request: Request | Command) -> Iterator[str]:
    """The lines that the monitor answers, until it hangs up, which also its restart does.

    Raises Away if it is not there, Refused if it is not for us.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
        channel.settimeout(PATIENCE_S)
        try:
            channel.connect(SOCKET)
            channel.sendall(request_to_json(request).encode())
        except PermissionError:
            raise Refused(
                f"only root and the group {GROUP} may ask nib-monitor: try sudo, or\n"
                f"  sudo usermod --append --groups {GROUP} USER, and log in again"
            ) from None
        except OSError as problem:
            raise Away(
                f"nib-monitor does not listen: {SOCKET}: {reason(problem)}\n"
                "  see why: systemctl status nib-monitor; start it: systemctl start nib-monitor"
            ) from None
        with channel.makefile(encoding="utf-8") as lines, suppress(OSError):
            # the last one may be cut off
            yield from (line for line in lines if line.endswith("\n"))

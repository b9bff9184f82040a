"""TCP connections: made, and ended at once by a reset, so that neither side remembers them."""

import asyncio
import contextlib
import socket

from nib.monitor.askers.way import Way
from nib.targets import Connect


async def ask(way: Way, target: Connect) -> None:
    """A refusal comes from there too, so it is as good as a connection.  Raises OSError."""
    with way.open(socket.SOCK_STREAM) as stream, contextlib.suppress(ConnectionRefusedError):
        await asyncio.get_running_loop().sock_connect(stream, (target.address, target.port))

"""Pages: one GET of HTTP/1.1, with or without TLS; a redirect is an answer, and not followed."""

import asyncio
import re
import socket
import ssl
from functools import cache

from nib import __version__
from nib.monitor.askers.way import Way
from nib.targets import Fetch

MOST_BYTES = 65536
# What stands in a sentence of ours; others wrote it.
SHOWN = 100


async def ask(way: Way, target: Fetch) -> str | None:
    """What is wrong with the answer.  Raises OSError."""
    loop = asyncio.get_running_loop()
    with way.open(socket.SOCK_STREAM) as stream:
        try:
            await loop.sock_connect(stream, (target.address, target.port))
            reader, writer = await asyncio.open_connection(
                sock=stream,
                ssl=_trust() if target.secure else None,
                server_hostname=target.host.strip("[]") if target.secure else None,
                limit=MOST_BYTES,
            )
        except ConnectionRefusedError:
            return "refuses the connection"
        except ssl.SSLCertVerificationError as error:
            return f"has a certificate that is not right: {error.verify_message}"
        except ssl.SSLError as error:
            return f"speaks no TLS: {error.reason}"
        try:
            writer.write(_request(target))
            return await _wrong(reader, target)
        except (EOFError, asyncio.LimitOverrunError, ValueError):
            return "speaks no HTTP"
        finally:
            writer.transport.abort()


@cache
def _trust() -> ssl.SSLContext:
    """The system's authorities."""
    return ssl.create_default_context()


def _request(target: Fetch) -> bytes:
    usual = 443 if target.secure else 80
    host = target.host if target.port == usual else f"{target.host}:{target.port}"
    lines = (
        f"GET {target.path} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: nib/{__version__}",
        "Accept: */*",
        "Connection: close",
    )
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


async def _wrong(reader: asyncio.StreamReader, target: Fetch) -> str | None:
    """Raises EOFError, LimitOverrunError or ValueError for what is no HTTP."""
    head = await reader.readuntil(b"\r\n\r\n")
    said = re.match(rb"HTTP/1\.[01] ([0-9]{3})\b", head)
    if not said:
        raise ValueError
    status = int(said[1])
    if status != target.status:
        to = re.search(rb"\r\nlocation:[ \t]*([!-~]+)", head, re.IGNORECASE)
        where = f" to {to[1].decode()[:SHOWN]}" if to else ""
        return f"has status {status}{where}, not {target.status}"
    if target.body is None or await _contains(reader, head, target.body.encode()):
        return None
    return f"has status {status}, but not the text {target.body[:SHOWN]!r}"


async def _contains(reader: asyncio.StreamReader, head: bytes, text: bytes) -> bool:
    """Whether the beginning of the body contains a text.  RFC 9112, sections 6 and 7.1."""
    length = re.search(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})\r", head, re.IGNORECASE)
    chunked = re.search(rb"\r\ntransfer-encoding:[^\r]*chunked", head, re.IGNORECASE)
    body = b""
    most = min(int(length[1]), MOST_BYTES) if length and not chunked else MOST_BYTES
    while text not in body and len(body) < most:
        size = int((await reader.readline()).partition(b";")[0], 16) if chunked else 0
        more = await (reader.readexactly(min(size, most)) if chunked else reader.read(most))
        if not more:
            break
        body += more
        if chunked:
            await reader.readline()
    return text in body

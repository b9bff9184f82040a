"""How long a scrape of the exporter takes on a booted router, once it runs."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from bench.report import Figure, Table, percentile, table
from bench.spaces import inside
from lab.errors import eventually
from nib_lab import DUAL, DUAL_ISPS, NibLab

EXPORTER, BARE = 9464, 9465
AIM_S = 0.01
# Prometheus asks every few seconds; not so often that one scrape waits for another.
APART_S = 0.02

SERVE = """
import http.server, sys
class Same(http.server.BaseHTTPRequestHandler):
    body = sys.stdin.buffer.read()
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Same).serve_forever()
"""


def run(suite: str, rounds: int) -> Table:
    """Scrapes of both in turn, in the router's own network."""
    took: dict[int, list[float]] = {EXPORTER: [], BARE: []}
    with NibLab(suite, DUAL + "metrics: {}\n", DUAL_ISPS) as lab:
        lab.start()
        with inside(lab.holder.path(f"/proc/{lab.router.pid}/ns/net")):
            text = _scrape(EXPORTER)
            with _bare(text):
                eventually(lambda: _scrape(BARE) == text)
                for _ in range(rounds):
                    for port, times in took.items():
                        time.sleep(APART_S)
                        begun = time.monotonic()
                        _scrape(port)
                        times.append(time.monotonic() - begun)
    figures = []
    for share, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99")):
        at, base = (percentile(times, share) for times in took.values())
        aim = AIM_S * 1000 if name == "p95" else None
        figures.append(Figure(f"a scrape, {name}", at * 1000, "ms", at / base, at_most=aim))
    return table(
        f"scrape, {suite}",
        f"{rounds} scrapes over the loopback, two uplinks of both families, {len(text)} bytes",
        "a bare http.server of the same Python that answers with the same bytes",
        figures,
    )


def _scrape(port: int) -> bytes:
    client = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        client.request("GET", "/metrics")
        return client.getresponse().read()
    except ConnectionRefusedError:
        return b""
    finally:
        client.close()


@contextmanager
def _bare(body: bytes) -> Iterator[None]:
    argv = [sys.executable, "-c", SERVE, str(BARE)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as server:
        assert server.stdin
        server.stdin.write(body)
        server.stdin.close()
        try:
            yield
        finally:
            server.terminate()

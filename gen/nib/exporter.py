"""nib-metrics: answers Prometheus on the socket that systemd opened, and ends when nobody asks.

The monitor is only asked, as anybody of its group may ask it: it does not know of this.
"""

import argparse
import contextlib
import socket
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer, TCPServer, ThreadingMixIn

from nib import __version__, host
from nib.host import Refused
from nib.live import read_metrics
from nib.metrics import AWAY
from nib.monitor.notify import passed_socket

PROGRAM = "nib-metrics"

IDLE_S = 600.0
"""Who scrapes more seldom than this starts the program each time."""

CLIENT_S = 5.0
"""How long a client may take for each line that it sends."""

METRICS = "text/plain; version=0.0.4; charset=utf-8"
INDEX = "nib: what Prometheus is to know is at /metrics\n"


def main() -> int:
    """Answer until nobody has asked for IDLE_S; 3 the host refused."""
    return host.guard(PROGRAM, _run)


def _run() -> int:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Answer Prometheus on the socket that systemd opened."
    )
    parser.add_argument("--version", action="version", version=f"nib {__version__}")
    parser.parse_args()
    listening = passed_socket()
    if listening is None:
        raise Refused(
            "there is no socket: systemd starts this program when somebody asks\n"
            "  `metrics: {}` in balance.yaml makes nib-metrics.socket; nib metrics prints the same"
        )
    with Exporter(listening, IDLE_S) as exporter:
        while not exporter.idle:
            exporter.handle_request()
    return host.FINE


class Exporter(ThreadingMixIn, TCPServer):
    """A server on `listener`, a listening socket; each request has a thread of its own."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, idle_s: float) -> None:
        # that of TCPServer would open a socket, which the unit may not
        BaseServer.__init__(self, listener.getsockname(), Handler)
        self.socket = listener
        self.timeout = idle_s
        self.idle = False

    def handle_timeout(self) -> None:
        """Nobody has asked for so long."""
        self.idle = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away, and the unit allows so many threads: no reason for a traceback."""
        if not isinstance(sys.exception(), OSError | RuntimeError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of /metrics, and a word for who looks around."""

    timeout = CLIENT_S
    server_version = f"nib/{__version__}"
    sys_version = ""

    def do_GET(self) -> None:
        """The whole answer."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Only what describes it."""
        self._answer(with_body=False)

    def log_message(self, format: str, *args: object) -> None:
        """A scrape is no news."""

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            text, kind = scrape(), METRICS
        elif path == "/":
            text, kind = INDEX, "text/plain; charset=utf-8"
        else:
            self.send_error(HTTPStatus.NOT_FOUND, explain="There is only /metrics.")
            return
        body = text.encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            with contextlib.suppress(OSError):
                self.wfile.write(body)


def scrape() -> str:
    """The metrics; of a monitor that does not answer only that."""
    try:
        return read_metrics()
    except Refused:
        return AWAY


if __name__ == "__main__":
    sys.exit(main())

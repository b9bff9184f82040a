"""A small mail server that takes every mail, and never sends one on.

As a program it prints what it is told, on a port of 127.0.0.1; the routers of the lab run it, so it
needs the standard library alone.
"""

import socketserver
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

USUAL = {"EHLO": "250 mx.example.org at your service", "DATA": "354 go on", "QUIT": "221 bye"}


class Taken(NamedTuple):
    """The lines of one conversation before a mail, and the mail."""

    envelope: list[str]
    mail: bytes


class Server(socketserver.ThreadingTCPServer):
    """Answers `answers` to the commands named there, and yes to the others."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, answers: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", port), Conversation, bind_and_activate=False)
        self.server_bind()
        self.answers = {**USUAL, **answers}
        self.taken: list[Taken] = []

    def serve(self) -> None:
        """Listen, until it is shut down."""
        self.server_activate()
        self.serve_forever(0.05)


class Conversation(socketserver.StreamRequestHandler):
    server: Server

    def handle(self) -> None:
        self._say("220 mx.example.org")
        envelope: list[str] = []
        for raw in self.rfile:
            line = raw.decode(errors="replace").strip()
            command = line[:4].upper()
            print(line, flush=True)
            envelope.append(line)
            answer = self.server.answers.get(command, "250 yes")
            self._say(answer)
            if command == "QUIT":
                return
            if answer.startswith("354"):
                self.server.taken.append(Taken(envelope[:-1], self._mail()))
                self._say("250 taken")

    def _mail(self) -> bytes:
        lines = []
        for line in self.rfile:
            print(line.decode(errors="replace").rstrip(), flush=True)
            if line == b".\r\n":
                break
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)

    def _say(self, answer: str) -> None:
        self.wfile.write(f"{answer}\r\n".encode())


@contextmanager
def listening(answers: Mapping[str, str], after_s: float = 0.0) -> Iterator[Server]:
    """One beside the test, on a port of its own; at first it does not listen."""
    with Server(0, answers) as server:
        threading.Timer(after_s, server.serve).start()
        try:
            yield server
        finally:
            server.shutdown()


if __name__ == "__main__":
    Server(int(sys.argv[1]), {}).serve()

"""Machines of the lab that are a network namespace, and the processes in them."""

import contextlib
import itertools
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from lab import keeper
from lab.errors import LabError, eventually

TESTS = Path(__file__).resolve().parents[1]
_counter = itertools.count(1)

# A new namespace copies some settings from this host.  This is what a freshly booted kernel has.
BASELINE = (
    "net.ipv4.ip_forward=0",
    "net.ipv4.conf.all.rp_filter=0",
    "net.ipv4.conf.default.rp_filter=0",
)

# For what is not the router.  Many connections need many ports, below which servers have theirs.
# An address that is still being checked for duplicates is of no use yet, and one that went with a
# dead link does not come back.
PLAIN = (
    "net.ipv4.ip_local_port_range=10000 65535",
    "net.ipv6.conf.all.accept_dad=0",
    "net.ipv6.conf.default.accept_dad=0",
    "net.ipv6.conf.all.keep_addr_on_down=1",
    "net.ipv6.conf.default.keep_addr_on_down=1",
)


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


class Child(Protocol):
    """A process, to the one that started it."""

    pid: int
    stdin: IO[bytes] | None

    def poll(self) -> int | None:
        """How it ended, or nothing yet."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""


class Holder:
    """The namespaces of one lab; they last as long as this object is not closed."""

    def __init__(self) -> None:
        self._processes: list[Process] = []
        pid = os.getpid()
        self.tag = f"{keeper.PREFIX}-{pid}-{keeper.start_time(pid)}-{next(_counter)}"
        # Only this process has the writing end of the pipe, and the kernel closes it at the latest.
        self._keeper = subprocess.Popen(
            [sys.executable, "-S", keeper.__file__, self.tag],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._keeper.stdout is not None
        pid_and_group = self._keeper.stdout.readline().decode().split()
        if len(pid_and_group) != 2:
            self.close()
            raise LabError("the lab's namespaces could not be made; its keeper said why")
        self.pid, self.group = int(pid_and_group[0]), pid_and_group[1]

    def path(self, inside: str) -> Path:
        """A path that only the lab sees, as this process can reach it."""
        return Path(f"/proc/{self.pid}/root{inside}")

    def close(self) -> None:
        """End every process of the lab; all else goes with them."""
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._keeper.stdin.close()
        self._keeper.wait()
        self._keeper.stdout.close()
        for process in self._processes:
            process.wait(10)

    def start(self, enter: Sequence[str], argv: Sequence[str], stdin: bytes = b"") -> "Process":
        """Start a program by way of another one that enters its surroundings."""
        return self.keep(Process(enter, argv, stdin))

    def agent(self, namespace: Path, module: str, request: str) -> "Process":
        """Start one of `lab.agents` in a network namespace."""
        return self.start(self.inside(namespace), [sys.executable, "-S", "-m", module, request])

    def keep(self, process: "Process") -> "Process":
        """Remember a process until it has ended, or the lab does."""
        for ended in [process for process in self._processes if not process.running]:
            ended.wait(0)
            self._processes.remove(ended)
        self._processes.append(process)
        return process

    def run(self, command: str) -> str:
        """Run a shell command among the lab's mounts and processes, but in no node's network."""
        return checked("lab", command, self.start(self.enter, ["sh", "-euc", command]).finish(60))

    @property
    def enter(self) -> list[str]:
        """The command that runs another one among the lab's mounts and processes."""
        spaces = ["--mount", "--pid", "--ipc", "--cgroup"]
        return ["nsenter", f"--target={self.pid}", *spaces, "--"]

    def inside(self, namespace: Path) -> list[str]:
        """The same, and in a network namespace, too."""
        return [*self.enter[:-1], f"--net={namespace}", "--"]

    @property
    def enter_group(self) -> list[str]:
        """The same, and the command is in the lab's control group, which systemd insists on."""
        # The group before its namespace: from inside there is no way in.
        return ["sh", "-c", f'echo 0 >{self.group}/cgroup.procs && exec "$@"', "in", *self.enter]


class Process:
    """A process inside a lab, with what it says kept in a file that has no name.

    It ends by `stop`, by itself, or with the lab.
    """

    def __init__(self, enter: Sequence[str], argv: Sequence[str], stdin: bytes = b"") -> None:
        self.argv = tuple(argv)
        self._out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the process
        self._err: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the process
        self._process = self._begin([*enter, *argv])
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        # Of what has ended: what it said.  Open files are for what has not.
        self._said: tuple[str, str] | None = None
        if stdin:
            with contextlib.suppress(BrokenPipeError):
                self._stdin.write(stdin)
                self._stdin.flush()

    def _begin(self, argv: Sequence[str]) -> Child:
        return subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=self._out,
            stderr=self._err,
            env=os.environ | {"LC_ALL": "C.UTF-8", "PYTHONPATH": str(TESTS)},
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process itself, as this side knows it; 0 before it is there and after it is gone."""
        try:
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            return int((children.read_text().split() or ["0"])[0])
        except OSError:
            return 0

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def out(self) -> str:
        """What it wrote to standard output until now."""
        return self._said[0] if self._said else _content(self._out)

    def err(self) -> str:
        """What it wrote to standard error until now."""
        return self._said[1] if self._said else _content(self._err)

    def finish(self, within: float) -> Done:
        """Close its standard input and wait for its own end."""
        self._close_stdin()
        return self.wait(within)

    def wait(self, within: float) -> Done:
        """Wait for its own end; it is killed if that is too late."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.stop(signal.SIGKILL)
            raise LabError(f"{self.argv}: no end within {within:g} s: {self.err()}") from None
        self._keep_what_it_said()
        return Done(code, self.out(), self.err())

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """End it now, by force if it does not listen."""
        if self.running and eventually(lambda: self.pid or not self.running):
            self._signal(by)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self._process.wait()
        self._keep_what_it_said()

    def _keep_what_it_said(self) -> None:
        self._close_stdin()
        if self._said is None:
            self._said = (self.out(), self.err())
            self._out.close()
            self._err.close()

    def _close_stdin(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def _signal(self, number: signal.Signals) -> None:
        if pid := self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


class Node:
    """A machine that is a network namespace, with this host's programs."""

    def __init__(self, holder: Holder, name: str) -> None:
        self.holder = holder
        self.name = name

    def __repr__(self) -> str:
        return self.name

    @property
    def namespace(self) -> Path:
        """Its network namespace, as a file."""
        return self.holder.path(f"/run/netns/{self.name}")

    def create(self, settings: Sequence[str] = PLAIN) -> None:
        """Make the namespace, with settings of its own, whatever this host has."""
        words = " ".join(shlex.quote(setting) for setting in (*BASELINE, *settings))
        self.holder.run(
            f"ip netns add {self.name} && ip netns exec {self.name} sysctl -qw {words}"
            f" && ip -n {self.name} link set lo up"
        )

    def start(self, *argv: str, stdin: str = "") -> Process:
        """Start a program of this host in the node."""
        return self.holder.start(self.holder.inside(self.namespace), argv, stdin.encode())

    def attempt(self, command: str, *, stdin: str = "", timeout: float = 60) -> Done:
        """Run a shell command and say how it ended."""
        return self.start("sh", "-c", command, stdin=stdin).finish(timeout)

    def run(self, command: str, *, stdin: str = "", timeout: float = 60) -> str:
        """Run a shell command that must succeed; what it wrote to standard output."""
        return checked(self.name, command, self.attempt(command, stdin=stdin, timeout=timeout))

    def agent(self, module: str, request: Mapping[str, object]) -> Process:
        """Start one of `lab.agents` in the node; it ends when its standard input does."""
        return self.holder.agent(self.namespace, f"lab.agents.{module}", json.dumps(request))


def checked(where: str, command: str, done: Done) -> str:
    """The output of a command that ended well; else an error that says all that is known."""
    if done.code:
        raise LabError(f"{where}: {command.strip()}: exit {done.code}\n{done.out}{done.err}")
    return done.out


def _content(file: IO[bytes]) -> str:
    # By position: the offset is shared with the process that is still writing.
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")

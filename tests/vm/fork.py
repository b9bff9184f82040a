"""The lab's agents as forks of the process that wants them: an emulator is slow to start Python."""

import ctypes
import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from lab.node import Child, Holder, Process

# What agents begin with, and a fork has already.
importlib.import_module("lab.agents.common")
FORK = multiprocessing.get_context("fork")
LIBC = ctypes.CDLL(None, use_errno=True)


class Fork:
    """A `Child` that goes on as an agent in a network namespace."""

    def __init__(self, argv: Sequence[str], out: int, err: int) -> None:
        reading, writing = os.pipe()
        self.stdin: IO[bytes] | None = os.fdopen(writing, "wb")
        self._process = FORK.Process(target=_become, args=(argv, (reading, out, err)), daemon=True)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid
        os.close(reading)

    def poll(self) -> int | None:
        """How it ended, or nothing yet."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self._process.exitcode


class Agent(Process):
    """An agent: of its argv the first is where it is, the others are its own."""

    def _begin(self, argv: Sequence[str]) -> Child:
        return Fork(argv, self._out.fileno(), self._err.fileno())

    @property
    def pid(self) -> int:
        """The process itself."""
        return self._process.pid if self.running else 0


class ForkingHolder(Holder):
    """A `Holder` whose agents are forks of this process."""

    def agent(self, namespace: Path, module: str, request: str) -> Process:
        """Start one of `lab.agents` in a network namespace."""
        return self.keep(Agent([str(namespace)], [module, request]))

    def close(self) -> None:
        """End its forks, which are not among the processes that end with it, and all else."""
        for process in self._processes:
            if isinstance(process, Agent):
                process.stop()
        super().close()


def _become(argv: Sequence[str], standard: Sequence[int]) -> None:
    namespace, module, *sys.argv[1:] = argv
    with Path(namespace).open() as network:
        if LIBC.setns(network.fileno(), 0):
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    for to, file in enumerate(standard):
        os.dup2(file, to)
    # not the ends of others' pipes: who has one keeps them from ending
    os.closerange(3, 4096)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    runpy.run_module(module, run_name="__main__")

"""A test in a network of its own, with real devices: this host sees nothing of it."""

import asyncio
import ctypes
import functools
import inspect
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

PATIENCE_S = 30
NOT_ALLOWED = 77


def alone(test: Callable[..., Any]) -> Callable[..., None]:
    """Run a test, plain or async, in a child that is root of a private network and /run."""

    @functools.wraps(test)
    def outside(*arguments: Any, **fixtures: Any) -> None:
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            _child(test, arguments, fixtures, writer)
        os.close(writer)
        with os.fdopen(reader) as heard:
            told = heard.read()
        _, outcome = os.waitpid(child, 0)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(outcome)
        if code == NOT_ALLOWED:
            refuse = pytest.fail if os.environ.get("CI") else pytest.skip
            refuse(f"this machine allows no private network: {told}")
        if code == -signal.SIGALRM:
            pytest.fail(f"not over after {PATIENCE_S} s\n{told}", pytrace=False)
        if code:
            pytest.fail(told or f"the child died of {code}", pytrace=False)

    return outside


def _child(test: Callable[..., Any], arguments: Any, fixtures: Any, writer: int) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        signal.alarm(PATIENCE_S)
        try:
            _enter()
        except (OSError, subprocess.CalledProcessError) as error:
            os.write(writer, str(error).encode())
            os._exit(NOT_ALLOWED)
        outcome = test(*arguments, **fixtures)
        if inspect.iscoroutine(outcome):
            asyncio.run(outcome)
        code = 0
    except BaseException:
        os.write(writer, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _enter() -> None:
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    sh("mount -t tmpfs tmpfs /run; mkdir /run/nib; ip link set lo up")


def sh(script: str) -> str:
    """What a shell script prints; it must not fail."""
    done = subprocess.run(["sh", "-eus"], input=script, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{script}\n{done.stderr}"
    return done.stdout


@contextmanager
def neighbour() -> Iterator[Callable[[str], str]]:
    """Another network beside this one: `sh` in there.  `$PID` says where to send a device."""
    with subprocess.Popen(["unshare", "-n", "sleep", "infinity"]) as process:
        there, here = Path(f"/proc/{process.pid}/ns/net"), Path("/proc/self/ns/net")
        wait_for(lambda: there.readlink() != here.readlink())

        def inside(script: str) -> str:
            return sh(f"nsenter -t {process.pid} -n sh -euc '{script}'")

        inside("ip link set lo up")
        os.environ["PID"] = str(process.pid)
        try:
            yield inside
        finally:
            process.kill()


def wait_for(true: Callable[[], object], within: float = 5) -> None:
    """Until it is true; an assertion if that takes too long."""
    deadline = time.monotonic() + within
    while not true():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


async def eventually(
    true: Callable[[], object] | Callable[[], Awaitable[object]], within: float = 5
) -> None:
    """The same while the loop turns."""
    async with asyncio.timeout(within):
        while True:
            answer = true()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.005)

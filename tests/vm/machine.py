"""The machine from outside: it is switched on, runs its tests, and tells how each of them ended."""

import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from lab.errors import LabError
from vm.image import image, initrd
from vm.world import BALANCE

TOOLS = {"cpio": "cpio", "qemu-system-x86_64": "qemu-system-x86"}

# What costs an emulator much, and tests nothing: guards against other tenants, and zeroed memory.
LIGHT = "mitigations=off init_on_alloc=0 audit=0 apparmor=0"

# What a hanging machine is switched off after.
LIMIT_S = 580

# The world around the router is there before any of its links is configured, as on a real machine.
UNIT = """\
[Unit]
Description=The providers and LANs around this router, and its tests
DefaultDependencies=no
Wants=network-pre.target
After=systemd-udevd.service systemd-tmpfiles-setup.service
Before=network-pre.target systemd-networkd.service

[Service]
Type=notify
NotifyAccess=all
TimeoutStartSec=infinity
Environment=NIB_VM={suite} PYTHONPATH=tests PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 LC_ALL=C.UTF-8
WorkingDirectory=/checkout
ExecStart=/usr/bin/python3 -m pytest -q -c /dev/null --rootdir=. --confcutdir=tests/vm \
    -p no:cacheprovider {tests}
StandardOutput=tty
StandardError=inherit
TTYPath=/dev/ttyS0
"""


def missing() -> tuple[str, ...]:
    """What a machine lacks here, in words; nothing, if it can run."""
    return tuple(f"{tool} ({package})" for tool, package in TOOLS.items() if not shutil.which(tool))


class Machine:
    """A virtual machine, from `with` to the end of the block, or of this process.

    Emulated in software: it needs no right, no device and no network of this host.
    """

    def __init__(self, suite: str, tests: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nib-vm-")
        folder = Path(self._folder.name)
        self._console = folder / "console"
        try:
            unit = UNIT.format(suite=suite, tests=" ".join(f'"{test}"' for test in tests))
            root = initrd(suite, BALANCE, unit, folder)
            self._process = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig=KILL", "qemu-system-x86_64"),
                    *("-accel", "tcg,thread=multi", "-smp", "1", "-m", "2048"),
                    *("-nodefaults", "-no-reboot", "-display", "none", "-nic", "none"),
                    *("-serial", f"file:{self._console}", "-serial", "stdio"),
                    *("-kernel", str(image(suite) / "vmlinuz"), "-initrd", str(root)),
                    *("-append", f"console=ttyS0 quiet panic=-1 {LIGHT}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
        except BaseException:
            self._folder.cleanup()
            raise
        self._limit = threading.Timer(LIMIT_S, self._process.kill)
        self._limit.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._limit.cancel()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._folder.cleanup()

    def outcome(self, test: str) -> None:
        """Wait for the end of a test in there, and fail if it failed.  In the order they began."""
        assert self._process.stdout is not None
        said: list[str] = []
        for line in self._process.stdout:
            report = json.loads(line)
            if report["test"] != test:
                raise LabError(f"the machine is at another test: {report['test']}")
            if report["outcome"] != "passed":
                said.append(f"{report['when']}: {report['outcome']}\n{report['text']}")
            if report["when"] == "teardown":
                break
        else:
            console = self._console.read_text(errors="replace").splitlines()
            said.append("\n".join(["the machine has ended; its console:", *console[-40:]]))
        if said:
            pytest.fail("\n".join(said), pytrace=False)

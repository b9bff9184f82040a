"""The machine from outside: it is switched on, runs its tests, and tells how each of them ended."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from lab.errors import LabError
from vm.image import image, initrd
from vm.world import BALANCE

TOOLS = {"cpio": "cpio", "qemu-system-x86_64": "qemu-system-x86"}

# Time in there is what was computed: a nanosecond for each instruction, and where nothing is to be
# done, the clock jumps to the next timer.  So no limit is missed because this host is slow or busy,
# and nobody waits for what only waits.
CLOCK = ("-icount", "shift=0,sleep=off", "-rtc", "clock=vm")

# What costs an emulator much, and tests nothing: guards against other tenants, zeroed memory,
# addresses that are others in each process, and services that nobody asks for anything.
IDLE = ("e2scrub_reap", "systemd-logind", "systemd-user-sessions")
LIGHT = " ".join(
    (
        "mitigations=off norandmaps init_on_alloc=0 audit=0 apparmor=0 selinux=0 cryptomgr.notests",
        *(f"systemd.mask={service}.service" for service in IDLE),
    )
)

# What a machine is switched off after that has not ended by itself: seconds of work, for how long
# that takes is up to the host.  All of its tests together take a fifth of it.
LIMIT_CPU_S = 900

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
ExecStart=/usr/bin/python3 -m pytest -v -c /dev/null --rootdir=. --confcutdir=tests/vm \
    -p no:cacheprovider -p no:warnings -p nib_lab {tests}
ExecStopPost=/usr/bin/systemctl poweroff --force --force
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
        self._failed = False
        unit = UNIT.format(suite=suite, tests=" ".join(f'"{test}"' for test in tests))
        # a large file, which has no name any more when the machine runs
        with tempfile.TemporaryDirectory(prefix="nib-vm-") as folder:
            root = initrd(suite, BALANCE, unit, Path(folder)).open("rb")
        number, console = tempfile.mkstemp(prefix=f"nib-vm-{suite}-", suffix=".log")
        os.close(number)
        self._console = Path(console)
        with root:
            self._process = subprocess.Popen(
                [
                    *("prlimit", f"--cpu={LIMIT_CPU_S}", "setpriv", "--pdeathsig=KILL"),
                    *("qemu-system-x86_64", "-accel", "tcg,thread=single", *CLOCK),
                    *("-smp", "1", "-m", "2048", "-nodefaults", "-nic", "none"),
                    *("-no-reboot", "-display", "none"),
                    *("-serial", f"file:{self._console}", "-serial", "stdio"),
                    *("-kernel", str(image(suite) / "vmlinuz")),
                    *("-initrd", f"/dev/fd/{root.fileno()}"),
                    *("-append", f"console=ttyS0 quiet systemd.show_status=1 panic=-1 {LIGHT}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                pass_fds=[root.fileno()],
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        if not self._failed:
            self._console.unlink()

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
            self._failed = True
            said.append(f"all that it said is kept in {self._console}")
            pytest.fail("\n".join(said), pytrace=False)

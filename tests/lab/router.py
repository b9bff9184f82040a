"""The router: Debian, really booted, in a container whose interfaces are the lab's."""

import io
import os
import shlex
import signal
import tarfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from lab.errors import LabError, eventually
from lab.node import Done, Holder, Node, Process, checked

ROOT = "/run/lab/root"

# What the container's programs find in their environment: nothing of this host's.
ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    "SYSTEMD_PAGER=cat",
    "SYSTEMD_COLORS=0",
)


class Router(Node):
    """A Debian system over a root that stays pristine.

    Files can be put, read and run before it boots, too.  What was written stays over a reboot;
    what the kernel knew (addresses, routes, rules, nft tables) does not, as on a real machine.
    With `containers` it may run some of its own.
    """

    def __init__(self, holder: Holder, layers: Iterable[Path], *, containers: bool = False) -> None:
        super().__init__(holder, "router")
        self._containers = containers
        if lower := ":".join(str(layer) for layer in layers):
            writable = "upperdir=/run/lab/upper,workdir=/run/lab/work"
            holder.run(f"mount -t overlay -o lowerdir={lower},{writable} lab {ROOT}")
        # What the lab does when the machine gets power, and when it loses it.
        self.plug: Callable[[], None] = lambda: None
        self.unplug: Callable[[], None] = lambda: None
        self._leader = 0
        self._nspawn: Process | None = None

    # -- power

    @property
    def booted(self) -> bool:
        """Whether the system is up."""
        return bool(self._leader)

    def boot(self, enable: Iterable[str] = (), within: float = 60) -> float:
        """Boot until systemd says that it is done; the seconds it took.

        `enable` names units to enable first; others start if the files that were put say so.
        """
        if units := list(enable):
            self.run("systemctl enable --quiet " + shlex.join(units))
        # What a real machine does not forget at power off has to be made anew: all of the kernel's.
        self.create(("net.ipv4.conf.all.forwarding=0",))
        self.plug()
        start = time.monotonic()
        self._nspawn = self.holder.start(self.holder.enter_group, self._command())

        def up() -> bool:
            self._leader = self._find_leader()
            state = self.attempt("systemctl is-system-running").out.strip()
            return state in {"running", "degraded"}

        try:
            eventually(up, within)
        except LabError as problem:
            console = self._nspawn.out() + self._nspawn.err()
            self._power_off()
            raise LabError(f"the router did not boot: {problem}\n{console}") from problem
        return time.monotonic() - start

    def _command(self) -> list[str]:
        tag = self.holder.tag
        return [
            "env",
            # A namespace that nspawn did not make itself keeps its settings read-only unless told.
            "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network",
            "systemd-nspawn",
            "--quiet",
            "--boot",
            f"--directory={ROOT}",
            f"--machine={tag}",
            "--hostname=router",
            f"--network-namespace-path=/run/netns/{self}",
            # ... nor does it leave the right to change that namespace.
            "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
            # What Docker asks of the kernel for its containers, and nspawn forbids.
            *(["--system-call-filter=@keyring bpf"] if self._containers else []),
            "--register=no",
            "--keep-unit",
            "--console=pipe",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
        ]

    def _find_leader(self) -> int:
        """The router's first process: the child of nspawn's with other processes of its own."""
        assert self._nspawn is not None
        if not self._nspawn.running:
            raise LabError("systemd-nspawn has ended")
        nspawn = self._nspawn.pid
        try:
            space = Path(f"/proc/{nspawn}/ns/pid").readlink()
            for child in Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split():
                if Path(f"/proc/{child}/ns/pid").readlink() != space:
                    return int(child)
        except OSError as problem:
            raise LabError(str(problem)) from problem
        raise LabError("systemd-nspawn has not started the router yet")

    @property
    def pid(self) -> int:
        """The pid of the router's first process, among the lab's processes."""
        status = Path(f"/proc/{self._leader}/status").read_text()
        pids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        return int(pids[-2])

    def shutdown(self, within: float = 30) -> None:
        """Power off in good order; the files stay."""
        if not self.booted or self._nspawn is None:
            return
        # SIGRTMIN+4 is systemd's "power off", without a bus.
        os.kill(self._leader, signal.SIGRTMIN + 4)
        nspawn = self._nspawn
        try:
            eventually(lambda: not nspawn.running, within)
        finally:
            self._power_off()

    def crash(self) -> None:
        """Lose power: nothing is stopped, nothing is written any more."""
        self._power_off()

    def reboot(self, within: float = 60) -> float:
        """Shut down and boot; the seconds that the boot took."""
        self.shutdown()
        return self.boot(within=within)

    def _power_off(self) -> None:
        if self._nspawn:
            # Its first process takes all of the router's along, and nspawn ends after it.
            if self._leader and self._nspawn.running:
                os.kill(self._leader, signal.SIGKILL)
                nspawn = self._nspawn
                eventually(lambda: not nspawn.running)
            self._nspawn.stop(signal.SIGKILL)
        self._leader = 0
        self._nspawn = None
        self.unplug()
        self.holder.run(f"ip netns delete {self}")

    # -- running

    def _inside(self, argv: Iterable[str], stdin: bytes) -> Process:
        clean = ["env", "-i", *ENVIRONMENT, *argv]
        if not self.booted:
            return self.holder.start(self.holder.enter, ["chroot", ROOT, *clean], stdin)
        enter = ["nsenter", f"--target={self._leader}", "--mount", "--uts", "--ipc", "--net"]
        enter += ["--pid", "--cgroup", "--root", "--wd", "--"]
        return self.holder.start(enter, clean, stdin)

    def attempt(self, command: str, *, stdin: str = "", timeout: float = 60) -> Done:
        """Run a shell command in the system (before it boots: on its files only)."""
        return self._inside(["sh", "-c", command], stdin.encode()).finish(timeout)

    def outside(self, command: str, *, timeout: float = 60) -> str:
        """Run a shell command with this host's programs in the router's network namespace."""
        return checked("router", command, self.start("sh", "-c", command).finish(timeout))

    # -- files

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file."""
        folder, file = shlex.quote(str(PurePosixPath(path).parent)), shlex.quote(path)
        self.run(f"mkdir -p {folder} && cat >{file} && chmod {mode:o} {file}", stdin=text)

    def read(self, path: str) -> str:
        """The text of a file."""
        return self.run(f"cat {shlex.quote(path)}")

    def exists(self, path: str) -> bool:
        """Whether there is such a file (or link, or folder)."""
        return self.attempt(f"test -e {shlex.quote(path)} || test -L {shlex.quote(path)}").code == 0

    def copy(self, tree: Path, to: str = "/etc") -> None:
        """Copy what is in a folder of this host into one of the router's; links stay links."""

        def as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            return entry

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for entry in sorted(tree.iterdir()):
                archive.add(entry, entry.name, filter=as_root)
        unpack = f"mkdir -p {to} && tar -x --directory={to}"
        done = self._inside(["sh", "-c", unpack], packed.getvalue()).finish(60)
        checked(str(self), f"copy {tree} to {to}", done)

    # -- looking

    def units(self, *, failed: bool = False) -> tuple[str, ...]:
        """The units that are loaded, or only those that failed."""
        states = "--state=failed" if failed else "--all"
        listed = self.run(f"systemctl list-units --plain --no-legend {states}")
        return tuple(line.split()[0] for line in listed.splitlines() if line.split())

    def journal(self, unit: str = "", priority: str = "debug") -> str:
        """What was logged since the boot."""
        only = f"--unit={shlex.quote(unit)}" if unit else ""
        return self.run(f"journalctl --boot --no-pager --output=cat --priority={priority} {only}")

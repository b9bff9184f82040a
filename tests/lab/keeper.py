"""The process that holds a lab up, and takes it down when its owner is gone.

    python keeper.py TAG           stdin: a pipe whose end is the lab's end; stdout: one line, a pid

A lab is one process tree in a PID namespace of its own.  Its mounts, network namespaces and files
are seen from inside that tree only, so when the first process of it ends, the kernel removes all
there is, whatever state it was in.  That first process ends when the pipe does, and the pipe ends
when its owner does: by `close`, by an exception, by SIGTERM or by SIGKILL.

The one thing that outlives its processes is the (then empty) control group, which systemd in the
router needs to call its own; removing that is what this process waits for.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PREFIX = "nib-lab"

# Runs as the first process of the lab.  bash, because it also buries the orphans of the others.
HOLD = """
set -e
mount -t tmpfs -o mode=755 lab /run
mkdir -p /run/netns /run/lab/upper /run/lab/work /run/lab/root
if mountpoint -q /sys/fs/cgroup; then umount -l /sys/fs/cgroup; fi
mount -t cgroup2 lab /sys/fs/cgroup
echo ready
exec >/dev/null
read -r _ || true
"""


def start_time(pid: int) -> str:
    """When a process started, in the kernel's ticks: with its pid, a name that is never reused."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field is a name in parentheses that may hold anything.
    return stat.rpartition(")")[2].split()[19]


def cgroups() -> Path:
    """Where the unified control groups are mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise SystemExit("lab: this machine has no cgroup2 mounted")


def remove(group: Path, within: float = 10.0) -> None:
    """End what is in a control group and remove it with all below."""
    deadline = time.monotonic() + within
    while group.exists():
        with contextlib.suppress(OSError):
            (group / "cgroup.kill").write_text("1")
        with contextlib.suppress(OSError):
            for folder, _, _ in os.walk(group, topdown=False):
                Path(folder).rmdir()
        if time.monotonic() > deadline:
            raise SystemExit(f"lab: {group} does not go away")
        time.sleep(0.01)


def sweep(root: Path) -> None:
    """Remove what labs left behind whose keeper was killed before it could."""
    for group in root.glob(f"{PREFIX}-*-*-*"):
        owner, started = group.name.removeprefix(f"{PREFIX}-").split("-")[:2]
        if start_time(int(owner)) != started:
            remove(group)


def main() -> int:
    """Make a lab's namespaces, say which process holds them, wait for the end."""
    # The end comes by the pipe, not by a key that was meant for the process in front.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    tag = sys.argv[1]
    root = cgroups()
    sweep(root)
    group = root / tag
    group.mkdir()
    join = f'echo 0 >{group}/cgroup.procs && exec "$@"'
    unshare = ["unshare", "--mount", "--pid", "--net", "--cgroup", "--ipc"]
    unshare += ["--fork", "--kill-child", "--mount-proc"]
    argv = ["sh", "-c", join, tag, *unshare, "bash", "-c", HOLD, tag]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as above:
        assert above.stdout is not None
        if above.stdout.readline() == b"ready\n":
            children = Path(f"/proc/{above.pid}/task/{above.pid}/children").read_text()
            print(children.strip(), group, flush=True)
            while os.read(0, 4096):
                pass
        # The lab's first process has seen the end of the pipe, too, and its parent waits for it.
        with contextlib.suppress(subprocess.TimeoutExpired):
            above.wait(10)
        above.kill()
    remove(group)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""python -m lab shell [FILE]: a lab to look around in, its router set up by FILE."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from lab.demo import BALANCE
from lab.image import SUITES
from lab.router import ROOT
from lab.world import Lab

HELP = f"""\
A lab is up.  This shell is among its mounts and processes; `exit` ends all of it.

    router CMD...                           a program inside the booted router (or a shell)
    ip netns exec isp1 tcpdump -ni cpe      any program of this machine, in a node's network
    ip netns list                           the nodes
    ls {ROOT}                        the router's files
"""


def main() -> int:
    """Boot a router with nib and open a shell next to it."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("verb", choices=["shell"])
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help="a balance.yaml")
    parser.add_argument("--suite", choices=sorted(SUITES), default="trixie")
    arguments = parser.parse_args()
    with Lab(arguments.suite, nib=True) as lab:
        router = lab.router
        router.put(
            "/etc/nib/balance.yaml", arguments.file.read_text() if arguments.file else BALANCE
        )
        sys.stdout.write(router.run("nib-gen --out /etc"))
        router.boot()
        sys.stdout.write(HELP)
        sys.stdout.flush()
        startup = lab.holder.path("/run/lab/rc")
        path = "PATH=/usr/local/bin:/usr/sbin:/usr/bin"
        enter = f"nsenter --all --root --wd --target={router.pid} env -i TERM=$TERM {path}"
        startup.write_text(f'router() {{ {enter} "${{@:-bash}}"; }}\nPS1="lab# "\n')
        shell = [*lab.holder.enter, "bash", "--rcfile", "/run/lab/rc", "-i"]
        return subprocess.call(shell, env=os.environ)


if __name__ == "__main__":
    sys.exit(main())

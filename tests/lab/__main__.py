"""`python -m lab shell [SUITE]`: a lab to look around in."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from lab.image import SUITES
from lab.router import ROOT
from lab.world import Lab

HELP = f"""\
A lab is up.  This shell is among its mounts and processes; `exit` ends all of it.

    ip netns exec isp1 tcpdump -ni cpe      any program of this machine, in a node's network
    ip netns list                           the nodes
    router CMD...                           a program inside the booted router
    ls {ROOT}                        its files
"""


def main() -> int:
    """Boot a router that has networkd and one address, and open a shell."""
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    parser.add_argument("verb", choices=["shell"])
    parser.add_argument("suite", choices=sorted(SUITES), default="trixie", nargs="?")
    parser.add_argument("--tree", metavar="DIR", help="copied to the router's /etc before it boots")
    arguments = parser.parse_args()
    with Lab(arguments.suite, nib=True) as lab:
        enable = ["systemd-networkd"]
        if arguments.tree:
            lab.router.copy(Path(arguments.tree))
        lab.router.boot(enable)
        sys.stdout.write(HELP)
        sys.stdout.flush()
        lab.holder.path("/run/lab/rc").write_text(
            "router() { nsenter -at "
            f"{lab.router.pid} env -i TERM=$TERM PATH=/usr/local/bin:/usr/sbin:/usr/bin "
            '"${@:-bash}"; }\nPS1="lab# "\n'
        )
        shell = [*lab.holder.enter, "bash", "--rcfile", "/run/lab/rc", "-i"]
        return subprocess.call(shell, env=os.environ)


if __name__ == "__main__":
    sys.exit(main())

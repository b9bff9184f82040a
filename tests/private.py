"""A network and mounts of one's own: nothing that a test does there reaches this host."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

GEN = Path(__file__).parent.parent / "gen"


def run(
    script: str, *arguments: object, network: bool = False, mounts: bool = False
) -> subprocess.CompletedProcess[str]:
    """A shell script as root of a private namespace, with `$1`...; no privilege is needed.

    Real root keeps its privilege: without it the kernel takes no table of over 200 kB.
    """
    wanted = [*(["-n"] if network else []), *(["-m"] if mounts else [])]
    wanted += ["-r"] if os.geteuid() else []
    trial = subprocess.run(["unshare", *wanted, "true"], capture_output=True, check=False)
    if trial.returncode:
        if os.environ.get("CI"):
            pytest.fail("this machine allows no private namespaces")
        pytest.skip("this machine allows no private namespaces")
    return subprocess.run(
        ["unshare", *wanted, "sh", "-euc", script, "sh", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=environment(),
    )


def load(texts: Iterable[str], folder: Path, root: Path = Path("/")) -> None:
    """Really load nft texts, one after the other, into one private kernel table.

    The nft is that of the system below `root`; another one than this host's needs root's privilege.
    """
    paths = []
    for number, text in enumerate(texts):
        path = folder / f"{number:04}.nft"
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    nft = "nft -f -" if root == Path("/") else f"chroot {root} /usr/sbin/nft -f -"
    done = run(f'for file; do {nft} <"$file"; done', *paths, network=True)
    assert not done.returncode, done.stderr


def environment(**more: str) -> dict[str, str]:
    """That of this process, with the checkout in front of Python's path."""
    return {**os.environ, "PYTHONPATH": str(GEN), "PYTHONWARNINGS": "", **more}


def python(program: str) -> str:
    """The command that runs one of nib's programs from the checkout, for a shell script."""
    module = {"nib-gen": "nib.cli", "nib": "nib.operator"}[program]
    return f'{sys.executable} -c "import sys; from {module} import main; sys.exit(main())"'

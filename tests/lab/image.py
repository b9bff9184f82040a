"""The Debian roots that the lab boots, made once and cached, and nib laid over them.

`image("trixie")` is a root file system that nobody ever writes to; `nib_layer("trixie")` is a
folder that holds nothing but nib's wheel, installed, and `package_layer("trixie", ["docker.io"])`
one with what these packages add.  A router's root is an overlay of them.

    python -m lab.image            make all of them but nib's now (minutes, the first time)
"""

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lab.errors import LabError

CHECKOUT = Path(__file__).resolve().parents[2]

# Raised by hand when the steps below change in a way that the rest of a recipe does not show.
STEPS = 1

# What a cached root or layer that nobody asked for in this time is removed after.
UNUSED_AFTER = 14 * 86400.0

# Sets of packages that some test asks for with `Lab(packages=FURTHER["docker"][suite])`.
FURTHER: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "docker": {
        "bookworm": ("docker.io", "iptables", "busybox-static"),
        "trixie": ("docker.io", "docker-cli", "iptables", "busybox-static"),
    },
    # Without netbase firewalld knows no protocol by its name.
    "firewalld": dict.fromkeys(("bookworm", "trixie"), ("firewalld", "netbase")),
    # Mail programs.  To reach its queue exim is setuid root, postfix and dma are setgid, and
    # nullmailer is setuid to a user; msmtp has none.
    "exim": dict.fromkeys(("bookworm", "trixie"), ("exim4-daemon-light",)),
    "postfix": dict.fromkeys(("bookworm", "trixie"), ("postfix",)),
    "dma": dict.fromkeys(("bookworm", "trixie"), ("dma",)),
    "nullmailer": dict.fromkeys(("bookworm", "trixie"), ("nullmailer",)),
    "msmtp": dict.fromkeys(("bookworm", "trixie"), ("msmtp", "msmtp-mta")),
    "foomuuri": {"trixie": ("foomuuri",)},
    "iptables": {"trixie": ("iptables",)},
}

PACKAGES = (
    "conntrack",
    "dbus",
    "dnsmasq-base",
    "iproute2",
    "iputils-ping",
    "kmod",
    "netcat-openbsd",
    "nftables",
    "procps",
    "python3",
    "python3-venv",
    "systemd",
    "systemd-sysv",
    "tcpdump",
)

# Nothing that talks to the world by itself, and no login prompts on a console that nobody watches.
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty.target",
    "man-db.timer",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what is in a root; another recipe is another root."""

    suite: str
    python: str
    packages: tuple[str, ...] = PACKAGES
    masked: tuple[str, ...] = MASKED
    dependencies: tuple[str, ...] = ()
    steps: int = STEPS

    @property
    def key(self) -> str:
        """A short name for exactly this recipe."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]


SUITES = {
    "bookworm": Recipe("bookworm", python="3.11"),
    "trixie": Recipe("trixie", python="3.13"),
}


def cache() -> Path:
    """Where roots and layers are kept: NIB_LAB_CACHE, or /var/cache/nib-lab."""
    return Path(os.environ.get("NIB_LAB_CACHE", "/var/cache/nib-lab"))


def recipe(suite: str) -> Recipe:
    """The recipe of a suite, with the dependencies of pyproject.toml."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    base = SUITES[suite]
    dependencies = tuple(sorted(project["dependencies"]))
    return replace(base, dependencies=dependencies)


def image(suite: str) -> Path:
    """The root of a suite, made if it is not there yet."""
    wanted = recipe(suite)
    return cached(f"{suite}-root", wanted.key, lambda target: debian(wanted, target))


@functools.cache
def nib_layer(suite: str) -> Path:
    """A folder with this checkout's nib in /opt/nib, to be laid over the suite's root.

    Made from the wheel, so what the lab runs is what a user installs.  One session always gets the
    same one, even if the sources change meanwhile.
    """
    root = image(suite)
    key = hashlib.sha256(f"{root.name} {_sources_hash()}".encode()).hexdigest()[:12]
    return cached(f"{suite}-nib", key, lambda target: _install(root, target))


@functools.cache
def package_layer(suite: str, packages: tuple[str, ...]) -> Path:
    """A folder with what further Debian packages add, to be laid over the suite's root.

    Their services are enabled as Debian enables them.
    """
    root = image(suite)
    key = hashlib.sha256(f"{root.name} {packages}".encode()).hexdigest()[:12]
    return cached(f"{suite}-with", key, lambda target: _add(root, packages, target)) / "root"


def cached(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """`kind-key` in the cache.  Made elsewhere and renamed: what has the name is complete."""
    done = cache() / f"{kind}-{key}"
    cache().mkdir(parents=True, exist_ok=True)
    with _locked(cache() / f"{kind}.lock"):
        # Under the lock nobody else is making one, so what is half made was left by a crash.
        for stale in cache().glob(f"{kind}.making-*"):
            shutil.rmtree(stale)
        if not done.exists():
            making = Path(tempfile.mkdtemp(prefix=f"{kind}.making-", dir=cache()))
            try:
                making.chmod(0o755)
                make(making)
                making.rename(done)
            except BaseException:
                shutil.rmtree(making, ignore_errors=True)
                raise
        os.utime(done)
        for other in cache().glob(f"{kind}-*"):
            if time.time() - other.stat().st_mtime > UNUSED_AFTER:
                shutil.rmtree(other)
    return done


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def debian(wanted: Recipe, target: Path) -> None:
    """Debian with the packages, and nib's dependencies in /opt/nib."""
    print(f"lab: making a {wanted.suite} root, once", file=sys.stderr, flush=True)
    include = "--include=" + ",".join(wanted.packages)
    argv = ["debootstrap", "--variant=minbase", include, wanted.suite, str(target), *_mirror()]
    isolated(argv)
    for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
        shutil.rmtree(target / leftover)
        (target / leftover).mkdir()
    for unit in wanted.masked:
        (target / "etc/systemd/system" / unit).symlink_to("/dev/null")
    # The first boot of every router is a first boot: it finds no identity of another one.
    (target / "etc/machine-id").write_text("")
    (target / "etc/hostname").write_text("router\n")
    isolated(["chroot", str(target), "/usr/bin/python3", "-m", "venv", "/opt/nib"])
    # The host fetches, for it knows the way out; the root installs what it is given.
    with tempfile.TemporaryDirectory(dir=target / "tmp") as wheels:
        fetch = [*_pip(), "download", "--quiet", "--only-binary=:all:", f"--dest={wheels}"]
        _run([*fetch, f"--python-version={wanted.python}", *wanted.dependencies])
        install = ["chroot", str(target), "/opt/nib/bin/python", "-m", "pip", "install"]
        install += ["--quiet", "--no-index", f"--find-links=/tmp/{Path(wheels).name}"]
        isolated([*install, *wanted.dependencies])


# The root's own empty folders, as only this shell sees them, are the ways in and out.
INSTALL = """
mount --bind "$2" "$1/mnt"
mount --bind "$3" "$1/media"
cd /
exec chroot "$1" /bin/sh -c 'PYTHONDONTWRITEBYTECODE=1 /opt/nib/bin/python -m pip install \\
    --quiet --no-index --no-deps --no-cache-dir --no-warn-script-location \\
    --root-user-action=ignore --root=/mnt /media/*.whl'
"""


def _install(root: Path, target: Path) -> None:
    """Nib's wheel, installed by the root's own python into a folder of its own."""
    with tempfile.TemporaryDirectory() as wheels:
        build = [*_pip(), "wheel", "--quiet", "--no-deps", f"--wheel-dir={wheels}"]
        if importlib.util.find_spec("hatchling"):
            build.append("--no-build-isolation")
        _run([*build, str(CHECKOUT)])
        isolated(["sh", "-euc", INSTALL, "install", str(root), str(target), wheels])
    programs = target / "usr/local/bin"
    programs.mkdir(parents=True)
    scripts = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["scripts"]
    for program in scripts:
        (programs / program).symlink_to(f"/opt/nib/bin/{program}")


# What apt writes lands in the folder "root"; the kernel needs "work" beside it meanwhile.
ADD = """
root=$1 target=$2; shift 2
mkdir "$target/root" "$target/work" "$target/both"
mount -t overlay -o "lowerdir=$root,upperdir=$target/root,workdir=$target/work" lab "$target/both"
mount -t proc proc "$target/both/proc"
mount --bind /dev "$target/both/dev"
mount --bind /etc/resolv.conf "$target/both/etc/resolv.conf"
chroot "$target/both" sh -euc '
    apt-get -qq update
    # a kernel among the packages is not to make an initrd that nobody boots
    export DEBIAN_FRONTEND=noninteractive INITRD=No
    apt-get -qq install --no-install-recommends "$@"
    apt-get -qq clean
    rm -r /var/lib/apt/lists/*
' add "$@"
"""


def _add(root: Path, packages: tuple[str, ...], target: Path) -> None:
    """Packages, installed over the root by its own apt into a folder."""
    print(f"lab: adding {' '.join(packages)}, once", file=sys.stderr, flush=True)
    isolated(["sh", "-euc", ADD, "add", str(root), str(target), *packages])
    for leftover in ("work", "both"):
        shutil.rmtree(target / leftover)


def _sources_hash() -> str:
    """One hash of everything that the wheel is made from."""
    digest = hashlib.sha256()
    files = [CHECKOUT / "pyproject.toml"]
    for folder in ("gen", "templates"):
        files += sorted(f for f in (CHECKOUT / folder).rglob("*") if f.is_file())
    for file in files:
        if "__pycache__" not in file.parts:
            digest.update(f"{file.relative_to(CHECKOUT)}\0".encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _mirror() -> list[str]:
    """The mirror that this machine's apt uses, if it is a Debian one; else debootstrap's own."""
    argv = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    sites = [site.rstrip("/") for site in _run(argv).split()]
    return [site for site in sites if site.endswith("/debian")][:1]


def _pip() -> list[str]:
    if importlib.util.find_spec("pip") is None:
        raise LabError(
            f"{sys.executable} has no pip, which the lab fetches nib's dependencies with"
        )
    return [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def isolated(argv: list[str]) -> str:
    """Run among mounts and processes of its own: whatever it leaves behind goes when it ends."""
    among = ["setpriv", "--pdeathsig=KILL", "unshare", "--mount", "--pid", "--mount-proc"]
    among += ["--fork", "--kill-child"]
    # Inside a root its own programs count, not those of a virtual environment out here.
    system = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
    return _run([*among, *argv], env=os.environ | system)


def _run(argv: list[str], env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """Make both roots, and the layers of packages over them."""
    for suite in SUITES:
        print(image(suite), flush=True)
    for further in FURTHER.values():
        for suite, packages in further.items():
            print(package_layer(suite, packages), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

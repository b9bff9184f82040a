"""What a machine boots: Debian's kernel, and a root that is packed once and lives in memory.

python -m vm.image             make both now (a minute each, the first time)
"""

import hashlib
import shutil
import sys
from pathlib import Path

from lab import image as lab
from lab.image import CHECKOUT, SUITES, cached, isolated, nib_layer, package_layer

# Over a router of the first lab: its kernel, device manager and lines, and what runs the tests.
PACKAGES = (
    "linux-image-amd64",
    "ppp",
    "pppoe",
    "python3-pytest",
    "udev",
    "wireguard-tools",
)

# Packs a root without what nobody needs in memory.  Of the kernel's modules the network's stay: the
# drivers of hardware that is not there are nearly all of them.
PACK = r"""
cp "$1"/boot/vmlinuz-* "$3/vmlinuz"
mkdir "$3/over" "$3/work"
mount -t overlay -o "lowerdir=$1:$2,upperdir=$3/over,workdir=$3/work" overlay /mnt
cd /mnt
rm -rf boot/* usr/lib/udev/hwdb.* usr/share/doc usr/share/locale usr/share/man
network='(arch/x86/crypto|crypto|lib|net)/.*|drivers/net/((ppp|slip|wireguard)/)?[^/]*'
find usr/lib/modules/*/kernel -regextype posix-extended -name '*.ko*' \
    -not -regex ".*/kernel/($network)" -delete
chroot . depmod "$(ls usr/lib/modules)"
ln -s usr/lib/systemd/systemd init
find . | cpio --quiet -o -H newc >"$3/root.cpio"
cd /
umount /mnt
rm -r "$3/over" "$3/work"
"""

# What is laid over it is compiled there, and packed in the same way: an emulator is slow at it.
COMPILE = r"""
mkdir "$4/work"
mount -t overlay -o "lowerdir=$1:$2,upperdir=$4/over,workdir=$4/work" overlay /mnt
chroot /mnt /usr/local/bin/nib-gen --out /etc
chroot /mnt /usr/bin/python3 -m compileall -q /checkout
cd "$4/over"
{ cat "$3/root.cpio"; find . | cpio --quiet -o -H newc; } >"$4/initrd"
"""


def image(suite: str) -> Path:
    """A folder with `vmlinuz` and `root.cpio`, made if it is not there yet."""
    layers = _layers(suite)

    def make(target: Path) -> None:
        isolated(["sh", "-euc", PACK, "pack", *layers, str(target)])

    key = hashlib.sha256(f"{layers} {PACK}".encode()).hexdigest()[:12]
    return cached(f"{suite}-vm", key, make)


def initrd(suite: str, balance: str, unit: str, target: Path) -> Path:
    """The root of one run: this checkout's nib, its tests, balance.yaml compiled, and a unit."""
    over = target / "over"
    shutil.copytree(nib_layer(suite), over, symlinks=True)
    # of the tests: what those in there import
    tests = over / "checkout/tests"
    tests.mkdir(parents=True)
    for path in (*CHECKOUT.glob("tests/*.py"), *(CHECKOUT / "tests" / f for f in ("lab", "vm"))):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tests / path.name)
    for path, text in {
        "etc/nib/balance.yaml": balance,
        "etc/systemd/system/lab.service": unit,
    }.items():
        (over / path).parent.mkdir(parents=True, exist_ok=True)
        (over / path).write_text(text)
    wants = over / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "lab.service").symlink_to("../lab.service")
    of_root = [*_layers(suite), str(image(suite))]
    isolated(["sh", "-euc", COMPILE, "compile", *of_root, str(target)])
    return target / "initrd"


def _layers(suite: str) -> list[str]:
    """What its root consists of, the upper first."""
    return [str(package_layer(suite, PACKAGES)), str(lab.image(suite))]


def main() -> int:
    """Make both."""
    for suite in SUITES:
        print(image(suite), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

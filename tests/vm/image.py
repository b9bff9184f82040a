"""What a machine boots: Debian's kernel, and a root that is packed once and lives in memory.

python -m vm.image             make both now (two minutes each, the first time)
"""

import hashlib
import shutil
import sys
from pathlib import Path

from lab.image import CHECKOUT, SUITES, cached, debian, isolated, nib_layer, recipe

# A whole system: its kernel, device manager and dial-up, and what runs the tests in there.
PACKAGES = (
    "linux-image-amd64",
    "ppp",
    "pppoe",
    "python3-pytest",
    "udev",
    "wireguard-tools",
)

# Packs a root without what nobody needs in memory.  Of the kernel's modules the network's stay: the
# drivers of hardware that is not there are most of them.
PACK = r"""
cp "$1"/root/boot/vmlinuz-* "$1/vmlinuz"
cd "$1/root"
rm -rf boot/* usr/share/doc usr/share/locale usr/share/man
find usr/lib/modules/*/kernel -name '*.ko*' -not -path '*/kernel/arch/*' \
    -not -path '*/kernel/crypto/*' -not -path '*/kernel/lib/*' -not -path '*/kernel/net/*' \
    -not -path '*/drivers/net/ppp/*' -not -path '*/drivers/net/slip/*' \
    -not -path '*/drivers/net/wireguard/*' -not -path '*/drivers/net/*.ko*' -delete
chroot . depmod "$(ls usr/lib/modules)"
ln -s usr/lib/systemd/systemd init
find . | cpio --quiet -o -H newc >../root.cpio
"""

# What is laid over it is compiled there, and packed in the same way.
COMPILE = r"""
mkdir "$2/work"
mount -t overlay -o "lowerdir=$1/root,upperdir=$2/over,workdir=$2/work" overlay /mnt
chroot /mnt /usr/local/bin/nib-gen --out /etc
cd "$2/over"
{ cat "$1/root.cpio"; find . | cpio --quiet -o -H newc; } >"$2/initrd"
"""


def image(suite: str) -> Path:
    """A folder with `vmlinuz`, `root` and `root.cpio`, made if it is not there yet."""
    wanted = recipe(suite, PACKAGES)

    def make(target: Path) -> None:
        root = target / "root"
        root.mkdir()
        debian(wanted, root)
        isolated(["sh", "-euc", PACK, "pack", str(target)])

    key = hashlib.sha256(f"{wanted.key} {PACK}".encode()).hexdigest()[:12]
    return cached(f"{suite}-vm", key, make)


def initrd(suite: str, balance: str, unit: str, target: Path) -> Path:
    """The root of one run: this checkout's nib, its tests, balance.yaml compiled, and a unit."""
    over = target / "over"
    shutil.copytree(nib_layer(suite), over, symlinks=True)
    keep = shutil.ignore_patterns("__pycache__", "golden")
    shutil.copytree(CHECKOUT / "tests", over / "checkout/tests", ignore=keep)
    for path, text in {
        "etc/nib/balance.yaml": balance,
        "etc/systemd/system/lab.service": unit,
    }.items():
        (over / path).parent.mkdir(parents=True, exist_ok=True)
        (over / path).write_text(text)
    wants = over / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / "lab.service").symlink_to("../lab.service")
    isolated(["sh", "-euc", COMPILE, "compile", str(image(suite)), str(target)])
    return target / "initrd"


def main() -> int:
    """Make both."""
    for suite in SUITES:
        print(image(suite), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

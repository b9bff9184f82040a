"""What the lab needs of the machine that it runs on."""

import os
import shutil

from lab.image import cache, recipe

TOOLS = {
    "busybox": "busybox",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "systemd-nspawn": "systemd-container",
}


def missing(suite: str) -> tuple[str, ...]:
    """What a lab with that suite lacks here, in words; nothing, if it can run."""
    if os.geteuid():
        return ("root",)
    lacking = [f"{tool} ({package})" for tool, package in TOOLS.items() if not shutil.which(tool)]
    root = cache() / f"{suite}-root-{recipe(suite).key}"
    if not root.exists() and not shutil.which("debootstrap"):
        lacking.append("debootstrap")
    return tuple(lacking)

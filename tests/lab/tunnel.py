"""Devices that a program makes and that end with it: PPP and VPNs, as far as routing sees them."""

from lab.errors import LabError, eventually
from lab.node import Node, Process
from lab.traffic import ANYHOW, How


def line(near: Node, device: str, far: Node, far_device: str) -> Process:
    """A point-to-point line between two nodes, until the process is stopped."""
    return _started(near, {"device": device, "far": [far.name, far_device]})


def vpn_client(near: Node, device: str, to: str, port: int, how: How = ANYHOW) -> Process:
    """A tunnel over UDP to a `vpn_server`; `how` its socket is made."""
    socket = {"source": how.source, "mark": how.mark, "bind": how.device}
    return _started(near, {"device": device, "dst": to, "port": port, **socket})


def vpn_server(node: Node, device: str, port: int) -> Process:
    """The other end of a `vpn_client`."""
    return _started(node, {"device": device, "listen": port})


def _started(node: Node, request: dict[str, object]) -> Process:
    process = node.agent("tunnel", request)
    eventually(lambda: process.out() or not process.running)
    if not process.running:
        raise LabError(f"{node}: a tunnel: {process.err()}")
    return process

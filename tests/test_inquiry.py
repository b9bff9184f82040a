"""How far a line reaches, asked of real neighbours and of who is behind them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

import samples
from alone import alone, neighbour, sh
from nib.families import Family
from nib.monitor.askers.inquiry import inquire
from nib.monitor.askers.way import Way
from nib.monitor.found import Found
from nib.targets import Connect, Ping, Target

GATEWAY: dict[Family, str] = {4: "192.0.2.1", 6: "2001:db8::1"}
NOBODY: dict[Family, str] = {4: "192.0.2.99", 6: "2001:db8::99"}
HOP: dict[Family, str] = {4: "100.64.0.2", 6: "2001:db8:64::2"}
TARGET: dict[Family, str] = {4: "203.0.113.1", 6: "2001:db8:beef::1"}


@contextmanager
def provider() -> Iterator[None]:
    """wan1, a gateway, a hop behind it that knows no way on, and an address of the gateway's."""
    with neighbour():
        gateway_pid = os.environ["PID"]
        with neighbour() as hop:
            sh(f"""
            ip link add wan1 type veth peer name far1; ip link set far1 netns {gateway_pid}
            ip link add far2 type veth peer name hop1
            ip link set far2 netns {gateway_pid}; ip link set hop1 netns $PID
            ip address add 192.0.2.2/24 dev wan1; ip address add 2001:db8::2/64 dev wan1 nodad
            ip link set wan1 up
            ip route add default via 192.0.2.1; ip route add default via 2001:db8::1
            nsenter -t {gateway_pid} -n sh -e -c '
            sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
            ip address add 192.0.2.1/24 dev far1; ip address add 2001:db8::1/64 dev far1 nodad
            ip address add 100.64.0.1/24 dev far2; ip address add 2001:db8:64::1/64 dev far2 nodad
            ip link set far1 up; ip link set far2 up
            ip route add default via 100.64.0.2; ip route add default via 2001:db8:64::2'
            """)
            hop("""sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
            sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
            ip address add 100.64.0.2/24 dev hop1; ip address add 2001:db8:64::2/64 dev hop1 nodad
            ip link set hop1 up
            ip route add 192.0.2.0/24 via 100.64.0.1; ip route add 2001:db8::/64 via 2001:db8:64::1
            ip route add default dev hop1 metric 9; ip -6 route add default dev hop1 metric 9""")
            # IPv6 takes a moment until its link addresses may be used
            for far in ("100.64.0.2", "2001:db8:64::2"):
                sh(f"for n in $(seq 50); do ping -c 1 -W 1 {far} && exit; sleep 0.1; done; exit 1")
            yield


async def found(family: Family, *targets: Target, gateway: str | None) -> Found:
    (uplink, _) = samples.plan().uplinks
    probe = replace(uplink.probe, targets=targets)
    return await inquire(
        Way(replace(uplink, probe=probe, families=(4, 6)), family, lambda: gateway)
    )


@pytest.mark.parametrize("family", [4, 6])
@alone
async def test_every_rung(family: Family) -> None:
    far = Ping("ping", TARGET[family])
    with provider():
        # nobody has the target's address: the hop says that packets of two hops ended there
        assert await found(family, far, gateway=GATEWAY[family]) == Found(True, HOP[family], False)
        reached = Connect("tcp", HOP[family], 443)
        assert (await found(family, reached, gateway=GATEWAY[family])).internet
        assert await found(family, far, gateway=NOBODY[family]) == Found(False, HOP[family], False)
        # a route that needs no gateway: nobody is asked for his hardware address
        assert (await found(family, far, gateway=None)).gateway is None
        sh("nsenter -t $PID -n ip link set hop1 down")
        assert await found(family, far, gateway=GATEWAY[family]) == Found(True, None, False)


@alone
async def test_a_device_that_is_gone_reaches_nobody() -> None:
    assert await found(4, Ping("ping", TARGET[4]), gateway=GATEWAY[4]) == Found(None, None, False)

"""Clients that are asked something: with a real kernel, its conntrack and its TCP."""

import socket
import subprocess
import time

import pytest

import samples
from alone import alone, sh
from nib.ip_rules import Mark
from nib.monitor.conntrack import Flow, flows_of, forget_flows
from nib.monitor.poke import send

MARK, OTHER, MASK = Mark(0x01000000), Mark(0x02000000), 0x3F000000
LOCAL = samples.plan().marks.local
TABLE = f"""
table inet t {{
    chain begun {{
        type filter hook output priority mangle; policy accept;
        th dport 7000 ct mark set {MARK:#x} ct label set 127
        th dport 7001 ct mark set {OTHER:#x}
    }}
    chain asked {{
        type filter hook output priority raw; policy accept;
        meta mark {LOCAL:#x} notrack
    }}
}}
"""
RESET = """
table inet t {
    chain answered {
        type filter hook output priority filter; policy accept;
        tcp dport 7000 ct state established reject with tcp reset
    }
}
"""
HOSTS = {4: "127.0.0.1", 6: "::1"}


def load(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


def connected(family: int, port: int) -> tuple[socket.socket, socket.socket]:
    """A client whose connection waits for a server's words, and the server's end of it."""
    kind = socket.AF_INET if family == 4 else socket.AF_INET6
    with socket.create_server((HOSTS[family], port), family=kind) as listening:
        client = socket.create_connection((HOSTS[family], port), 5)
        server, _ = listening.accept()
    return client, server


@pytest.mark.parametrize("family", [4, 6])
@alone
def test_a_client_that_waits_answers_and_is_reset(family: int) -> None:
    sh("ip link set lo up")
    load(TABLE)
    (silent, end), (other, other_end) = (connected(family, port) for port in (7000, 7001))
    with silent, end, other, other_end:
        load(RESET)
        (flow,) = flows_of(family, MARK, MASK)
        silent.settimeout(0.3)
        with pytest.raises(TimeoutError):
            silent.recv(1)
        send(family, LOCAL, [flow])
        silent.settimeout(5)
        with pytest.raises(ConnectionResetError):
            silent.recv(1)
        # the question itself is no connection, and nobody else was asked
        assert len(flows_of(family, OTHER, MASK)) == 1
        other_end.sendall(b"still here")
        assert other.recv(10) == b"still here"


@alone
def test_flows_are_listed_by_mark_and_family_and_forgotten() -> None:
    sh("ip link set lo up")
    load(TABLE)
    (client, end), (client6, end6) = (connected(family, 7000) for family in (4, 6))
    with client, end, client6, end6, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(b"x", ("127.0.0.1", 7000))
        host, sport = client.getsockname()
        address = socket.inet_aton(host)
        label = 1 << 127
        tcp = Flow(address, address, socket.IPPROTO_TCP, sport, 7000, True, False, label)
        _, sport = datagrams.getsockname()
        udp = Flow(address, address, socket.IPPROTO_UDP, sport, 7000, False, False, label)
        assert sorted(flows_of(4, MARK, MASK), key=lambda flow: flow.protocol) == [tcp, udp]
        assert [len(flow.source) for flow in flows_of(6, MARK, MASK)] == [16]
        assert flows_of(4, OTHER, MASK) == []
        forget_flows(4, MARK, MASK)
        assert flows_of(4, MARK, MASK) == []
        assert len(flows_of(6, MARK, MASK)) == 1


@alone
def test_thousands_of_flows_are_listed_whole() -> None:
    """The kernel tells them in many messages."""
    sh("ip link set lo up")
    load(TABLE)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 7000))
        for port in range(20000, 22000):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
                datagrams.bind(("127.0.0.1", port))
                datagrams.sendto(b"x", ("127.0.0.1", 7000))
    began = time.monotonic()
    assert sorted(flow.sport for flow in flows_of(4, MARK, MASK)) == list(range(20000, 22000))
    assert time.monotonic() - began < 5

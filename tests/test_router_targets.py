"""Every way to ask: it finds out a dead line, and its return, and leaves by its own line alone."""

import sys
import time

import pytest

import answering
from lab.errors import eventually
from lab.hosts import INTERNET6, PUBLIC6
from lab.isp import Isp, Provider
from nib_lab import FAST, HOME, NibLab, Routers

pytestmark = pytest.mark.lab

PROGRAM = """#!/usr/bin/python3
import os, socket, sys
six = os.environ["NIB_FAMILY"] == "6"
with socket.socket(socket.AF_INET6 if six else socket.AF_INET) as stream:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, os.environ["NIB_DEVICE"].encode())
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(os.environ["NIB_MARK"]))
    stream.connect(("2001:db8:ffff::11" if six else "203.0.113.55", 443))
"""
# Each by an uplink of its own; nobody else asks these addresses.
KINDS = {
    "tcp": ('{tcp: "203.0.113.53:443"}', f'{{tcp: "[{PUBLIC6[0]}]:443"}}'),
    # nobody listens there: a refusal comes from there too
    "refused": ('{tcp: "203.0.113.54:9"}', f'{{tcp: "[{INTERNET6}]:9"}}'),
    "dns": ("{dns: 9.9.9.9, name: a.example}", f'{{dns: "{PUBLIC6[1]}", name: a.example}}'),
    "http": (
        '{http: "http://8.8.8.8/204", status: 204}',
        f'{{http: "http://[{PUBLIC6[2]}]/204", status: 204}}',
    ),
    "ping": ("{ping: gateway}",),
    "arp": ("{arp: gateway}",),
    "program": ("{command: /usr/local/libexec/ask}",),
}
BEYOND = {
    "tcp": {"203.0.113.53", PUBLIC6[0]},
    "refused": {"203.0.113.54", INTERNET6},
    "dns": {"9.9.9.9", PUBLIC6[1]},
    "http": {"8.8.8.8", PUBLIC6[2]},
    "program": {"203.0.113.55", "2001:db8:ffff::11"},
}


def watched(isp: Provider) -> None:
    """Note where the router sends anything through a provider."""
    sets = "".join(f"set to{f} {{ type ipv{f}_addr; flags dynamic; size 99; }}\n" for f in (4, 6))
    isp.run(
        "nft -f -",
        stdin=f"""table inet seen {{
            {sets}
            chain forward {{
              type filter hook forward priority -10; policy accept;
              iifname cpe update @to4 {{ ip daddr }}
              iifname cpe update @to6 {{ ip6 daddr }}
            }}
        }}""",
    )


def seen(isp: Provider) -> set[str]:
    return {address for family in (4, 6) for address in elements(isp, f"to{family}")}


def elements(isp: Provider, name: str) -> set[str]:
    listed = isp.run(f"nft list set inet seen {name}").partition("elements = {")[2]
    return set(listed.replace("}", "").replace(",", " ").split())


def test_every_kind_sees_a_cut_and_a_return(routers: Routers) -> None:
    uplinks = "\n".join(
        f"  {name}: {{device: wan{i}, gateway: [198.51.{100 + i}.1, '2001:db8:{i}::1'],"
        f" address: [198.51.{100 + i}.2/24, '2001:db8:{i}::2/64'],"
        f" probe: {{targets: [{', '.join(targets)}]}}}}"
        for i, (name, targets) in enumerate(KINDS.items(), start=1)
    )
    probe = "probe: {interval: 300ms, timeout: 1s, fall: 2, rise: 2}\n"
    isps = (Isp("static", ipv6="static"),) * len(KINDS)
    files = {"/usr/local/libexec/ask": PROGRAM}
    lab = routers(f"uplinks:\n{uplinks}\n{probe}", isps, 0, files)
    lab.router.run("chmod 755 /usr/local/libexec/ask")
    lab.inet.run("ip address add 2001:db8:ffff::11 dev lo")
    for isp in lab.isps:
        watched(isp)
    lab.start()
    everyone = dict.fromkeys(KINDS, "up")
    lab.until(within=20, family=6, **everyone)

    for isp in lab.isps:
        isp.fail(gateway=True)
    # when every one is dead the others' ways are no better: nothing is asked through them
    for family in (4, 6):
        lab.until(within=20, family=family, **dict.fromkeys(KINDS, "down"))
    for isp in lab.isps:
        isp.restore()
    for family in (4, 6):
        lab.until(within=30, family=family, **everyone)
    for name, isp in zip(KINDS, lab.isps, strict=True):
        assert seen(isp) == BEYOND.get(name, set()), name
    assert lab.router.run("ss -Htan state time-wait state fin-wait-1 state fin-wait-2") == ""


def two(targets: str) -> str:
    return HOME.replace("weight: 3", f"ipv6: off, probe: {{targets: [{targets}]}}") + FAST


def reason(lab: NibLab) -> str:
    return str(lab.status()["cable"]["reason"])


def test_a_portal_is_no_answer(routers: Routers) -> None:
    """Whoever did not log in gets a redirect from everywhere; ping works all the time."""
    lab = routers(two('{http: "http://203.0.113.10/portal", status: 204}'))
    lab.start()
    isp = lab.isps[0]
    portal = isp.start(sys.executable, answering.__file__, "http")
    isp.run(
        "nft -f -",
        stdin="""table ip portal { chain in { type nat hook prerouting priority -100; policy accept;
          tcp dport 80 redirect to :80
        }
        }""",
    )
    lab.until(cable="down")
    found = "http://203.0.113.10/portal has status 302 to http://login.example/?a=b, not 204"
    assert reason(lab) == f"the link is fine, but {found}"
    assert lab.router.attempt("ping -c 1 -W 1 -I wan1 203.0.113.10").code == 0
    isp.run("nft delete table ip portal")
    lab.until(cable="up")
    portal.stop()


def test_dns_is_dead_while_ping_works(routers: Routers) -> None:
    lab = routers(two("{dns: 9.9.9.9, name: a.example}"))
    lab.start()
    isp = lab.isps[0]
    isp.fail("udp dport 53", direction="up")
    lab.until(cable="down")
    why = "the internet answers pings, but DNS does not work: none of dns 9.9.9.9 answered"
    eventually(lambda: reason(lab) == why, 5)
    assert lab.router.attempt("ping -c 1 -W 1 -I wan1 9.9.9.9").code == 0
    isp.restore()
    lab.until(cable="up")


def test_the_reason_says_how_far_a_dead_line_reaches(routers: Routers) -> None:
    lab = routers(HOME + FAST)
    lab.start()
    isp = lab.isps[0]
    gateway = lab.status()["cable"]["gateway"]
    isp.fail()
    lab.until(cable="down")
    behind = f"the gateway {gateway} answers, but nothing beyond it: none of "
    eventually(lambda: reason(lab).startswith(behind), 5)
    said = lab.router.run("journalctl -u nib-monitor.service -o cat").splitlines()
    (first, *_, last) = [line for line in said if line.startswith("cable") and "(cable4-1)" in line]
    assert first.startswith("cable is down: the link is fine, but none of ")
    assert last.startswith(f"cable: {behind}")


def test_a_line_that_filters_pings_is_up_by_its_other_targets(routers: Routers) -> None:
    lab = routers(two('1.1.1.1, {tcp: "203.0.113.54:9"}, {dns: 9.9.9.9, name: a.example}'))
    lab.start()
    isp = lab.isps[0]
    isp.fail("meta l4proto icmp")
    assert lab.router.attempt("ping -c 1 -W 1 -I wan1 1.1.1.1").code == 1
    time.sleep(2)
    assert (lab.health()["cable"], lab.status()["cable"]["outages"]) == ("up", 0)
    isp.fail()
    lab.until(cable="down")

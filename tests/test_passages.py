"""Forwards, routes and segments in nft and networkd; fragments and hooks on disk."""

import os
import re
from pathlib import Path

import pytest

import private
import samples
from nib import fragments, hooks
from nib.host import Refused
from nib.passages import Forward

FORWARDS = """\
firewall:
  forwards:
    - {protocol: tcp, port: 443, to: 192.168.10.20}
    - {protocol: [udp, tcp, udp], port: [6000-6010, 5060, 6011], to: 192.168.10.20}
    - {protocol: tcp, port: 80, to: "192.168.10.20:8080"}
    - {protocol: tcp, port: 81-82, to: "192.168.10.20:8080"}
    - {protocol: tcp, port: 90, to: 192.168.10.20, uplinks: [dsl]}
    - {protocol: tcp, port: 91, to: 192.168.10.20, source: [203.0.113.0/25, 203.0.113.128/25]}
    - {protocol: tcp, port: 92, to: 192.168.10.20, limit: {rate: 5/minute, per: all}}
    - {protocol: tcp, port: 90, to: 192.168.10.21, uplinks: [cable]}
    - {protocol: tcp, port: 91, to: 192.168.10.21, source: 198.51.100.0/24}
"""
FORWARDS6 = """\
firewall:
  forwards:
    - {protocol: tcp, port: [443, 6000-6010], to: "fd00:10::20"}
    - {protocol: [tcp, udp], port: 80, to: "[fd00:10::20]:8080"}
    - {protocol: tcp, port: 81-82, to: "[fd00:10::20]:8080"}
    - {protocol: tcp, port: 90, to: "fd00:10::20", source: ["2001:db8::/33", "2001:db8:8000::/33"]}
    - {protocol: tcp, port: 91, to: "fd00:10::20", uplinks: [cable], limit: {rate: 5/minute}}
"""


def planned(text: str) -> tuple[Forward, ...]:
    firewall = samples.plan(text).firewall
    assert firewall
    return firewall.forwards


def test_what_a_map_can_hold_is_in_a_map() -> None:
    found = planned(samples.TWO + FORWARDS)
    assert [forward.mapped for forward in found] == [True, True, True, *[False] * 6]
    assert found[1].protocols == ("udp", "tcp")
    assert found[1].ports == ("5060", "6000-6011")
    assert (found[4].except_devices, found[7].except_devices) == (("wan1",), ("wan2",))
    assert found[5].sources == ("203.0.113.0/24",)


def test_forwards_of_ipv6_are_in_maps_of_their_own(tmp_path: Path) -> None:
    found = planned(samples.DUAL + FORWARDS6)
    assert [forward.mapped for forward in found] == [True, True, False, False, False]
    assert {forward.family for forward in found} == {6}
    assert found[3].sources == ("2001:db8::/32",)
    text = str(samples.files(samples.DUAL + FORWARDS6)["nib/nib.nft"])
    assert "forwards4" not in text
    four = str(samples.files(samples.DUAL + FORWARDS)["nib/nib.nft"])
    assert "forwards6" not in four
    private.load([text, four, text], tmp_path)


def test_the_table_stays_small_however_many_forwards_there_are(tmp_path: Path) -> None:
    many = "firewall:\n  forwards:\n" + "".join(
        f"    - {{protocol: [tcp, udp], port: {port}, to: 192.168.10.{port % 200 + 2}}}\n"
        for port in range(1000, 1300)
    )
    text = str(samples.files(samples.TWO + many)["nib/nib.nft"])
    chain = text[text.index("chain forward_port {\n\t\t") :].partition("\t}\n")[0]
    assert chain.count("dnat") == 2
    assert text.count("add element inet nib forwards4") == 600
    private.load([text, text, str(samples.files(samples.TWO + FORWARDS)["nib/nib.nft"])], tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may send the kernel so much at once")
def test_as_many_uplinks_as_there_are_marks_load_with_mtu_and_forwards(tmp_path: Path) -> None:
    text = (
        samples.uplinks(62).replace("ipv6: off", "mtu: 1492")
        + 'lans: {home: {device: lan1, address: [192.168.10.1/24, "fd00:10::1/64"]}}\n'
        + "firewall:\n  forwards:\n"
        + "    - {protocol: tcp, port: 80, to: 192.168.10.20, uplinks: [u0]}\n"
        + '    - {protocol: tcp, port: 80, to: "[fd00:10::20]:81", uplinks: [u0]}\n'
    )
    private.load([str(samples.files(text)["nib/nib.nft"])], tmp_path)


def test_without_forwards_there_is_no_trace_of_them() -> None:
    assert "dstnat" not in str(samples.files()["nib/nib.nft"])
    assert "user_input" not in str(samples.files()["nib/stopped.nft"])


def test_the_default_ssh_gives_way_to_a_forward_of_its_port() -> None:
    (forward,) = planned(
        samples.TWO + "firewall: {forwards: [{protocol: tcp, port: 22, to: 192.168.10.20}]}\n"
    )
    assert forward.mapped


def test_hosts_behind_a_route_and_in_a_lan_of_others_can_be_meant() -> None:
    behind = "routes: [{to: 10.20.0.0/16, via: 192.168.10.254}]\n"
    to = "firewall: {forwards: [{protocol: tcp, port: 443, to: 10.20.0.5}]}\n"
    assert planned(samples.TWO + behind + to)
    assert planned(samples.TWO + "  vpn: {device: wg0, address: external}\n" + to)


def test_a_route_is_in_the_file_of_its_device() -> None:
    files = samples.files(
        samples.TWO
        + "routes:\n"
        + "  - {to: 10.1.0.0/16, via: 192.168.10.254, masquerade: true}\n"
        + "  - {to: 10.2.0.0/16, via: 198.51.100.7, masquerade: true}\n"
        + "  - {to: 10.3.0.0/16, device: wan1}\n"
        + "  - {to: 10.4.0.0/16, via: 100.64.0.1, device: wan1}\n"
    )
    found = {
        name: re.findall(r"Destination=(\S+)\n(\S+)\n", str(files[f"{path}{name}.network"]))
        for path in ("systemd/network/05-nib-",)
        for name in ("home", "dsl", "cable")
    }
    assert found == {
        "home": [("10.1.0.0/16", "Gateway=192.168.10.254")],
        "dsl": [("10.2.0.0/16", "Gateway=198.51.100.7")],
        "cable": [("10.3.0.0/16", "Scope=link"), ("10.4.0.0/16", "Gateway=100.64.0.1")],
    }
    masqueraded = re.findall(r"masquerade_routes4 { (.*) }", str(files["nib/nib.nft"]))
    assert masqueraded == ['"lan1" . 10.1.0.0/16']


CLOSED = samples.TWO.replace(
    "  home:", "  guests: {device: lan2, address: 192.168.20.1/24, input: reject}\n  home:"
)
OPENINGS = """\
firewall:
  allow:
    - {service: ssh, limit: {rate: 5/minute}}
    - {service: ntp, lans: [guests], limit: {rate: 5/minute}}
    - {service: http, uplinks: [":uplinks"], lans: [":lans"]}
"""


def test_openings_are_for_uplinks_for_closed_lans_or_both(tmp_path: Path) -> None:
    plan = samples.plan(CLOSED + OPENINGS)
    assert [lan.name for lan in plan.closed] == ["guests"]
    outside = [(one.name, one.ports, one.devices) for one in plan.openings(inside=False)]
    assert outside == [("allow_1", ("22",), ()), ("allow_3", ("80",), ())]
    inside = [(one.name, one.ports) for one in plan.openings(inside=True)]
    assert inside == [
        ("allow_2_lans", ("123",)),
        ("allow_3_lans", ("80",)),
        ("lans_udp", ("53", "67", "547")),
        ("lans_tcp", ("53",)),
    ]
    assert {one.devices for one in plan.openings(inside=True)} == {("lan2",)}
    # from open to closed and back, and as it is while the table is away
    files = samples.files(CLOSED + OPENINGS)
    table, stopped, usual = files["nib/nib.nft"], files["nib/stopped.nft"], samples.files()
    private.load([str(one) for one in (usual["nib/nib.nft"], table, table, stopped)], tmp_path)
    assert str(stopped).count('iifname { "lan2" } goto input_lan') == 1
    assert "input_lan" not in str(usual["nib/nib.nft"])


def test_without_a_closed_lan_nothing_is_open_inside() -> None:
    plan = samples.plan(samples.TWO)
    assert (plan.closed, plan.openings(inside=True)) == ((), ())
    off = samples.plan(samples.TWO + "firewall: off\n")
    assert (off.closed, off.openings(inside=False)) == ((), ())


MODEMS = """\
uplinks:
  cable: {device: wan1, address: dhcp, modem: {address: 192.168.100.1, from: [home]}}
  fiber: {device: wan2, address: dhcp, modem: {address: 192.168.1.254, own: 192.168.1.2/24}}
  dsl: {device: ppp0, address: external, modem: {address: 10.0.0.1, own: 10.0.0.2/24, device: eth1}}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
  guests: {device: lan2, address: 192.168.20.1/24}
forwarding: [[home, ":uplinks"], [guests, fiber]]
"""


def test_a_modem_is_reached_by_its_own_port_and_by_whom_it_is_for(tmp_path: Path) -> None:
    files = samples.files(MODEMS)
    network = "systemd/network/05-nib-"
    assert "Destination=192.168.100.1/32\nScope=link\n" in str(files[f"{network}cable.network"])
    own = "[Address]\nAddress={}\nScope=link\n"
    assert own.format("192.168.1.2/24") in str(files[f"{network}fiber.network"])
    below = str(files[f"{network}dsl-modem.network"])
    assert "Name=eth1\n" in below and own.format("10.0.0.2/24") in below
    assert "10.0.0" not in str(files[f"{network}dsl.network"])
    table, stopped = str(files["nib/nib.nft"]), str(files["nib/stopped.nft"])
    assert re.findall(r"element inet nib modem_\w+ { (.*) }", table) == [
        '"wan1" . 192.168.100.1',
        '"lan1" . "wan1" . 192.168.100.1',
        '"eth1" . 10.0.0.1 : 10.0.0.2',
        '"eth1" . 10.0.0.1',
        '"lan1" . "eth1" . 10.0.0.1',
        '"wan2" . 192.168.1.254 : 192.168.1.2',
        '"wan2" . 192.168.1.254',
        '"lan1" . "wan2" . 192.168.1.254',
        '"lan2" . "wan2" . 192.168.1.254',
    ]
    assert 'elements = { "wan1", "ppp0", "wan2", "eth1" }' in stopped
    private.load([table, table, stopped, table], tmp_path)
    private.load([str(samples.files(MODEMS + "firewall: off\n")["nib/nib.nft"])], tmp_path)


def test_segments_are_what_an_mtu_leaves() -> None:
    plan = samples.plan(
        "uplinks:\n"
        "  a: {device: wan1, address: dhcp, mtu: 1492}\n"
        "  b: {device: wan2, address: dhcp}\n"
        "  c: {device: wan3, address: dhcp, mtu: 1400}\n"
        "  d: {device: wan4, address: dhcp, ipv6: off, mtu: 1492}\n"
    )
    found = [(segment.family, segment.size, segment.devices) for segment in plan.segments]
    assert found == [
        (4, 1360, ("wan3",)),
        (4, 1452, ("wan1", "wan4")),
        (6, 1340, ("wan3",)),
        (6, 1432, ("wan1",)),
    ]


# -- the administrator's own -----------------------------------------------------------------------


def test_fragments_that_the_monitor_could_not_read_are_refused(tmp_path: Path) -> None:
    assert fragments.paths(tmp_path) == ()
    folder = tmp_path / "nib/nft.d"
    folder.mkdir(parents=True)
    for name in ("20-b.nft", "10-a.nft", ".hidden.nft", "10-a.nft~", "README"):
        (folder / name).touch()
        (folder / name).chmod(0o644)
    folder.chmod(0o755)
    names = [path.name for path in fragments.paths(tmp_path)]
    assert names == ["nft.d", "10-a.nft", "20-b.nft"]
    (folder / "20-b.nft").chmod(0o640)
    with pytest.raises(Refused, match=r"chmod a\+r .*20-b"):
        fragments.paths(tmp_path)
    (folder / "20-b.nft").chmod(0o644)
    folder.chmod(0o700)
    with pytest.raises(Refused, match=r"chmod a\+rX .*nft\.d"):
        fragments.paths(tmp_path)
    folder.chmod(0o755)
    (folder / "30-c.nft").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Refused, match=r"30-c\.nft: no such file"):
        fragments.paths(tmp_path)


def hook(etc: Path, when: str, name: str, script: str, mode: int = 0o755) -> None:
    path = etc / f"nib/hooks/{when}.d" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)


def test_hooks_run_in_order_and_know_what_happens(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plan = samples.plan()
    assert hooks.run(tmp_path, "pre-apply", plan, frozenset(), 5) == ()
    hook(tmp_path, "pre-apply", "20-b", "echo b $NIB_UPLINKS=$NIB_UPLINK_DEVICES")
    hook(tmp_path, "pre-apply", "10-a", "echo a $NIB_HOOK $NIB_CHANGED $NIB_LANS=$NIB_LAN_DEVICES")
    hook(tmp_path, "pre-apply", "30-c", "echo never", 0o644)
    hook(tmp_path, "pre-apply", "10-a~", "echo never")
    hook(tmp_path, "pre-apply", ".10-a.swp", "echo never")
    (tmp_path / "nib/hooks/pre-apply.d/folder").mkdir()
    assert hooks.run(tmp_path, "pre-apply", plan, frozenset({"nib/nib.nft"}), 5) == ()
    said = capfd.readouterr()
    assert re.findall(r"^  (.*)$", said.out, re.MULTILINE) == [
        f"a pre-apply {tmp_path}/nib/nib.nft home=lan1",
        "b cable dsl=wan1 wan2",
    ]
    assert "30-c is not executable" in said.err


@pytest.mark.parametrize(("when", "ran"), [("pre-apply", 1), ("post-apply", 3)])
def test_a_failing_hook_stops_what_comes_before_a_change(
    tmp_path: Path, when: hooks.When, ran: int, capfd: pytest.CaptureFixture[str]
) -> None:
    hook(tmp_path, when, "1", "echo ran; exit 7")
    hook(tmp_path, when, "2", "echo ran")
    hook(tmp_path, when, "3", "echo ran; sleep 60 & sleep 60")
    failed = hooks.run(tmp_path, when, samples.plan(), frozenset(), 0.3)
    assert capfd.readouterr().out.count(f"{when}: ") == ran
    assert "1 ended with status 7" in failed[0]
    assert len(failed) == (1 if when == "pre-apply" else 2)
    assert all("3 was not done within 0.3 s" in line for line in failed[1:])


def test_netdevs_become_files_and_lines_of_their_parents() -> None:
    text = """\
uplinks:
  a: {device: isp1, address: dhcp, netdev: {macvlan: wan0}}
  b: {device: isp2, address: dhcp, netdev: {macvlan: wan0}}
  c: {device: isp3, address: dhcp, netdev: {vlan: isp1, id: 4094}}
  d:
    device: ppp0
    address: external
    modem: {address: 192.168.1.254, own: 192.168.1.2/24, device: wan1}
  e: {device: isp5, address: dhcp, netdev: {vlan: wan1, id: 1}}
lans:
  home: {device: lan1, address: 192.168.10.1/24}
  more: {device: lan2, address: 192.168.20.1/24, netdev: {macvlan: lan1}}
"""
    made = samples.files(text)
    assert samples.plan(text).ports == ("wan0",)
    stacked = {
        path.removeprefix("systemd/network/05-nib-"): re.findall(
            r"^(?:MACV|V)LAN=.*", content, re.M
        )
        for path, content in made.items()
        if path.endswith(".network") and isinstance(content, str)
    }
    assert {name: lines for name, lines in stacked.items() if lines} == {
        "wan0-port.network": ["MACVLAN=isp1", "MACVLAN=isp2"],
        "a.network": ["VLAN=isp3"],
        "d-modem.network": ["VLAN=isp5"],
        "home.network": ["MACVLAN=lan2"],
    }
    assert {path for path in made if path.endswith(".netdev")} == {
        f"systemd/network/05-nib-{name}.netdev" for name in ("a", "b", "c", "e", "more")
    }
    answering = re.findall(r"conf/(\S+)/arp_ignore = 1", str(made["sysctl.d/05-nib.conf"]))
    assert answering == ["wan0", "isp1", "isp2", "lan1", "lan2"]
    for file in ("nib/nib.nft", "nib/stopped.nft"):
        assert re.search(r'uplink_devices.*"wan0"|elements = .*"wan0"', str(made[file]))


def test_a_new_id_of_a_vlan_changes_the_file_of_its_parent() -> None:
    """So networkd configures the parent anew, and makes the device that nib apply has removed."""
    one, two = (
        samples.files(
            f"uplinks: {{a: {{device: v, address: dhcp, netdev: {{vlan: wan0, id: {number}}}}}}}\n"
        )
        for number in (3, 4)
    )
    path = "systemd/network/05-nib-wan0-port.network"
    assert one[path] != two[path]

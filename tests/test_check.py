"""What balance.yaml may say: every complaint, every default, and no surprise for any input."""

import json
import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import samples
from nib.check import check
from nib.check.sets import Listed, files_of
from nib.config import Config, Dhcp, External, Limit, Mode, Static
from nib.document import Document, Rejected, parse
from nib.services import SERVICES
from nib.shape import schema, schema_text, shape
from nib.targets import Ping

ERRORS = Path(__file__).parent / "errors"
ONE = "uplinks: {cable: {device: wan1, address: dhcp}}\n"


def read(text: str) -> Config:
    return check(parse("balance.yaml", text.encode()))


def refused(raw: bytes) -> Rejected:
    """What a file named /etc/nib/NAME.list holds is beside the complaints, if there is one."""
    with pytest.raises(Rejected) as caught:
        document = parse("balance.yaml", raw)
        kept = {path: ERRORS / Path(path).name for path in files_of(document)}
        listings = {
            path: Listed(file.read_text()) if file.exists() else Listed("", "there is no such file")
            for path, file in kept.items()
        }
        check(document, listings)
    return caught.value


# -- every complaint, whole


@pytest.mark.parametrize("name", sorted(path.stem for path in ERRORS.glob("*.yaml")))
def test_error(name: str, update_golden: bool) -> None:
    answer = refused((ERRORS / f"{name}.yaml").read_bytes()).report()
    kept = ERRORS / f"{name}.txt"
    if update_golden:
        kept.write_text(answer, encoding="utf-8")
    assert answer == kept.read_text(encoding="utf-8")
    assert all(line.isprintable() for line in answer.splitlines())


def test_every_answer_has_its_question() -> None:
    assert {p.stem for p in ERRORS.glob("*.txt")} == {p.stem for p in ERRORS.glob("*.yaml")}


# -- what is accepted


def test_minimal() -> None:
    config = read(ONE)
    (cable,) = config.uplinks
    assert (config.mode, config.lans, config.mask) == (Mode.BALANCE, (), 0x7F000000)
    assert config.forwarding == (("cable",),)
    assert (cable.weight, cable.tier, cable.pinned_id, cable.gateway) == (1, 1, None, None)
    assert cable.address == Dhcp()
    assert str(cable.origin) == "uplinks.cable"
    assert config.firewall is not None
    (ssh,) = config.firewall.allow
    assert (ssh.protocol, ssh.ports, ssh.sources, ssh.uplinks) == (
        "tcp",
        ((22, 22),),
        (),
        ("cable",),
    )
    assert ssh.limit == Limit(rate=5, unit="minute", burst=5, per_source=True)
    assert config.firewall.log_drops


FULL = """
mode: failover
uplinks:
  cable: {device: wan1, address: [198.51.100.2/24, 198.51.100.3/24], gateway: 198.51.100.1, id: 7}
  dsl:
    device: ppp0
    address: external
    weight: 0
    tier: 2
    probe: {targets: [9.9.9.9, 8.8.4.4], timeout: 1m, rise: 1}
  p2p: {device: wan3, address: 203.0.113.4/31, gateway: 203.0.113.5}
lans:
  home: {device: lan1, address: [192.168.10.1/24, 192.168.10.2/24]}
  vpn: {device: tun0, address: external}
forwarding:
  - [vpn, home]
  - [":lans", cable]
firewall:
  log: off
  allow:
    - {service: dns, uplinks: [dsl, cable]}
    - {protocol: udp, port: [100-200, 51820, 150-300], source: [203.0.113.7, 203.0.113.0/24]}
    - {service: ssh, limit: {rate: 50/hour, per: all}}
probe: {interval: 3s, hold_down: 1h, quorum: 2}
marks: {mask: 0xff}
"""


def test_full() -> None:
    config = read(FULL)
    cable, dsl, _ = config.uplinks
    assert cable.address == Static(
        (IPv4Interface("198.51.100.2/24"), IPv4Interface("198.51.100.3/24"))
    )
    assert (cable.gateway, cable.pinned_id) == (IPv4Address("198.51.100.1"), 7)
    assert dsl.address == External()
    assert (dsl.weight, dsl.tier) == (0, 2)
    assert config.forwarding == (("vpn", "home"), ("home", "vpn", "cable"))
    assert config.mask == 0xFF
    assert config.firewall is not None
    assert not config.firewall.log_drops
    tcp, udp, ports, ssh = config.firewall.allow
    assert (tcp.protocol, udp.protocol, tcp.ports) == ("tcp", "udp", udp.ports)
    assert tcp.uplinks == ("dsl", "cable")
    assert ports.ports == ((100, 300), (51820, 51820))
    assert ports.sources == (IPv4Network("203.0.113.0/24"),)
    assert ssh.limit == Limit(50, "hour", 5, per_source=False)


def test_an_uplink_changes_single_keys_of_the_probe() -> None:
    cable, dsl, _ = read(FULL).uplinks
    assert (cable.probe.interval_ms, cable.probe.timeout_ms, cable.probe.rise) == (3000, 1000, 5)
    assert (dsl.probe.interval_ms, dsl.probe.timeout_ms, dsl.probe.rise) == (3000, 60_000, 1)
    assert (dsl.probe.hold_down_ms, dsl.probe.quorum) == (3_600_000, 2)
    assert dsl.probe.targets[:2] == (Ping("ping", "9.9.9.9"), Ping("ping", "8.8.4.4"))


def test_each_family_has_targets_of_its_own() -> None:
    _, dsl, _ = read(FULL).uplinks
    assert [str(target) for target in dsl.probe.targets] == [
        *("9.9.9.9", "8.8.4.4", "2606:4700:4700::1111", "2620:fe::fe", "2001:4860:4860::8888")
    ]
    (cable,) = read(ONE + 'probe: {targets: ["2001:db8::53"]}\n').uplinks
    assert [str(target) for target in cable.probe.targets] == [
        *("2001:db8::53", "1.1.1.1", "9.9.9.9", "8.8.8.8")
    ]


def test_who_has_ipv6() -> None:
    config = read(samples.DUAL)
    assert [uplink.ipv6 for uplink in config.uplinks] == ["masquerade", "masquerade", None]
    assert [lan.ipv6 for lan in config.lans] == [True, False, True]
    dsl = config.uplinks[1]
    assert (str(dsl.gateway), str(dsl.gateway6)) == ("198.51.100.1", "2001:db8:2::1")
    # a static uplink has what is written, no more
    static = "uplinks: {a: {device: x, address: 198.51.100.2/24, gateway: 198.51.100.1}}\n"
    assert not read(static).uplinks[0].ipv6
    assert read(ONE.replace("dhcp", "dhcp, ipv6: masquerade")) == read(ONE)


def test_a_source_is_of_one_family_or_of_both() -> None:
    for source, families in (
        ('"::/0"', {6}),
        ("0.0.0.0/0", {4}),
        ('["::/0", 0.0.0.0/0]', set()),
        ('["2001:db8::/32", "2001:db8:1::1", 203.0.113.1]', {4, 6}),
    ):
        firewall = read(f"{ONE}firewall: {{allow: [{{service: ssh, source: {source}}}]}}").firewall
        assert firewall
        assert {network.version for network in firewall.allow[0].sources} == families


def test_json_is_accepted_too() -> None:
    data = parse("balance.yaml", FULL.encode()).data
    assert read(json.dumps(data)) == read(FULL)
    assert read(json.dumps(data, indent=2)) == read(FULL)


def test_byte_order_mark_and_crlf_are_accepted() -> None:
    raw = b"\xef\xbb\xbf" + FULL.replace("\n", "\r\n").encode()
    assert check(parse("balance.yaml", raw)) == read(FULL)


def test_firewall_off_and_nothing_forwarded() -> None:
    config = read(ONE + "firewall: off\nforwarding: []\n")
    assert config.firewall is None
    assert config.forwarding == ()


def test_whole_numbers_written_as_floats() -> None:
    config = read("uplinks: {a: {device: x, address: dhcp, weight: 3.0, id: 7.0}}\n")
    assert repr(config.uplinks[0].weight) == "3"
    assert repr(config.uplinks[0].pinned_id) == "7"


@pytest.mark.parametrize(("mask", "marks"), [("0x7f000000", 62), ("0xff", 126), ("0x700", 2)])
def test_as_many_uplinks_as_marks(mask: str, marks: int) -> None:
    uplinks = {f"isp{i}": {"device": f"wan{i}", "address": "dhcp"} for i in range(marks + 1)}
    document = {"uplinks": uplinks, "marks": {"mask": mask}}
    (problem,) = refused(json.dumps(document).encode()).problems
    assert f"{marks + 1} uplinks, but the mask" in problem.message
    del uplinks["isp0"]
    assert len(read(json.dumps(document)).uplinks) == marks


# -- the schema


def test_schema_is_valid_and_lists_the_services() -> None:
    Draft202012Validator.check_schema(schema())
    assert json.loads(schema_text()) == schema()
    assert schema()["$defs"]["allow"]["properties"]["service"]["enum"] == list(SERVICES)


def _properties(node: Any) -> list[tuple[str, dict[str, Any], bool]]:
    found = []
    if isinstance(node, dict):
        for key, inner in node.get("properties", {}).items():
            found.append((key, inner, key in node.get("required", ())))
        for inner in node.values():
            found += _properties(inner)
    return found


def test_every_key_says_what_it_is_and_what_its_absence_means() -> None:
    for key, inner, required in _properties(schema()):
        assert inner["description"].endswith("."), key
        explained = "default" in inner or required or "ithout it" in inner["description"]
        assert explained, key


def test_no_branches_in_the_schema() -> None:
    assert not re.search(r'"(oneOf|anyOf|allOf|if|not)"', schema_text())


def test_defaults_come_from_the_schema() -> None:
    written = read(ONE)
    data, problems = shape(parse("balance.yaml", ONE.encode()))
    assert not problems
    keys = schema()["properties"]
    assert data["mode"] == keys["mode"]["default"]
    probe = schema()["$defs"]["probe"]["properties"]
    usual = {key: inner["default"] for key, inner in probe.items() if "default" in inner}
    assert data["probe"] == usual
    assert data["uplinks"]["cable"]["probe"] == data["probe"]
    # Writing every default out changes nothing.
    assert read(json.dumps(data)) == written


def test_schema_is_not_changed_by_reading() -> None:
    before = json.dumps(schema())
    read(FULL)
    assert json.dumps(schema()) == before


# -- no surprise


names = st.sampled_from(
    ["cable", "dsl", "Cable", "lo", "default", "a b", "", "x" * 20, "é", "home"]
)
words = st.sampled_from(
    [
        *(
            "dhcp",
            "external",
            "wan1",
            "lan1",
            "1.1.1.1",
            "192.168.1.1/24",
            "10.0.0.0/8",
            "::1",
            "2001:db8::2/64",
            "fd00:10::1/64",
            "fe80::1",
            "off",
        ),
        *(
            "500ms",
            "3s",
            "5/minute",
            ":uplinks",
            ":lans",
            "0x7f000000",
            "80-90",
            "ssh",
            "\ud800",
            "a\n",
        ),
        *("10.0.0.1/31", "10.0.0.2/32", "0.0.0.0/0", "\u0661", "1:2", "10.0.0.1/255.0.0.0"),
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=5)
keywords = sorted({key for key, _, _ in _properties(schema())} | {"rules", "ipv6", "loss"})
keys = st.sampled_from(keywords) | names
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def _like(rules: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Data in the form of the schema, now and then with something else inside."""
    if "$ref" in rules:
        rules = schema()["$defs"][rules["$ref"].removeprefix("#/$defs/")]
    kinds = rules.get("type", "string")
    made: list[st.SearchStrategy[Any]] = [anything]
    if "enum" in rules:
        made += [st.sampled_from(rules["enum"])] * 6
    if "object" in kinds and "properties" in rules:
        inner = {key: _like(value) for key, value in rules["properties"].items()}
        made += [st.fixed_dictionaries({}, optional=inner)] * 6
    elif "object" in kinds:
        made += [st.dictionaries(names, _like(rules["additionalProperties"]), max_size=4)] * 6
    if "array" in kinds:
        made += [st.lists(_like(rules["items"]), max_size=4)] * 4
    if "integer" in kinds:
        made += [st.integers(-1, 300)] * 4
    if "string" in kinds:
        made += [words] * 4
    return st.one_of(made)


def judged(document: Document) -> None:
    try:
        config = check(document)
    except Rejected as rejected:
        assert rejected.problems
        assert all(line.isprintable() for line in rejected.report().splitlines())
        rejected.report().encode()
    else:
        assert config.uplinks


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_like(schema()))
def test_any_data_is_read_or_refused(data: Any) -> None:
    text = yaml.safe_dump(data, allow_unicode=False)
    try:
        document = parse("balance.yaml", text.encode())
    except Rejected as rejected:
        assert rejected.problems
    else:
        judged(document)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    raw = bytearray(FULL.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        document = parse("balance.yaml", bytes(raw))
    except Rejected as rejected:
        assert rejected.problems
    else:
        judged(document)

"""The exporter of a really booted router, as Prometheus reads it."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lab.errors import eventually
from lab.node import Node
from lab.traffic import scan
from nib_lab import FAST, HOME, Routers

pytestmark = pytest.mark.lab

PORT = 9464
URL = f"http://192.168.10.1:{PORT}/metrics"
ASK = "import urllib.request as u; print(u.urlopen('{}', timeout=5).read().decode())"


def scraped(node: Node) -> dict[tuple[str, ...], float]:
    """By name and the values of the labels."""
    text = node.run(f'python3 -c "{ASK.format(URL)}"')
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_in_a_lan_reads_what_the_monitor_knows(routers: Routers) -> None:
    lab = routers(HOME + FAST + f'metrics: {{listen: "192.168.10.1:{PORT}"}}\n')
    lab.start()
    client = lab.lans[0]
    found = scraped(client)
    assert found["nib_monitor_up",] == 1
    assert {name: found["nib_uplink_up", name, "ipv4"] for name in ("cable", "dsl")} == {
        "cable": 1,
        "dsl": 1,
    }
    assert found["nib_uplink_receive_bytes_total", "cable"] > 0
    said = lab.router.run("systemd-analyze security --no-pager nib-metrics.service | tail -n 1")
    level = re.search(r"Overall exposure level for nib-metrics.service: ([0-9.]+)", said)
    assert level and float(level[1]) <= 1.5
    for isp in lab.isps:
        assert scan(lab.inet, isp.router_address, (PORT,), timeout=0.5).ports() == ()

    lab.isps[0].fail()
    lab.until(cable="down", dsl="up")
    assert scraped(lab.router)["nib_uplink_up", "cable", "ipv4"] == 0
    lab.router.run("systemctl stop nib-monitor")
    assert scraped(client) == {("nib_monitor_up",): 0}
    lab.router.run("systemctl start nib-monitor")
    eventually(lambda: scraped(client).get(("nib_uplink_up", "dsl", "ipv4")) == 1, 10)

    # another port, and none at all, on a router that runs
    lab.router.put("/etc/nib/balance.yaml", HOME + FAST + 'metrics: {listen: "127.0.0.1:9100"}\n')
    lab.router.run("nib apply --yes", timeout=120)
    lab.router.run(f'python3 -c "{ASK.format("http://127.0.0.1:9100/metrics")}"')
    assert scan(client, "192.168.10.1", (PORT,), timeout=0.5).ports() == ()
    lab.router.put("/etc/nib/balance.yaml", HOME + FAST)
    lab.router.run("nib apply --yes", timeout=120)
    assert "nib-metrics" not in lab.router.run("systemctl list-units --no-pager --all 'nib-*'")

"""The status as Prometheus reads it: the text format 0.0.4, by its naming conventions.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nib.counters import Counters
from nib.status import Shown, Status

STATES: tuple[Shown, ...] = ("unknown", "up", "down", "absent")

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Metric:
    """A family of samples: their labels and values."""

    name: str
    kind: str
    help: str
    samples: Sequence[tuple[Labels, float]]


def _whether_up(up: int) -> Metric:
    return Metric("nib_monitor_up", "gauge", "Whether nib-monitor answers.", [({}, up)])


def metrics(status: Status, counters: Mapping[str, Counters], boot_s: float, version: str) -> str:
    """All metrics.

    `counters`: by device; `boot_s`: the zero of CLOCK_MONOTONIC, in seconds of the epoch.
    """
    return "".join(_text(metric) for metric in _metrics(status, counters, boot_s, version))


def _metrics(
    status: Status, counters: Mapping[str, Counters], boot_s: float, version: str
) -> Iterator[Metric]:
    lines = [
        ({"uplink": uplink.name, "family": f"ipv{one.family}"}, one)
        for uplink in status.uplinks
        for one in uplink.families
    ]
    yield _whether_up(1)
    yield Metric("nib_build_info", "gauge", "The version of nib.", [({"version": version}, 1)])
    yield Metric(
        "nib_status_timestamp_seconds",
        "gauge",
        "When nib-monitor said this.",
        [({}, boot_s + status.at_s)],
    )
    yield Metric(
        "nib_uplink_info",
        "gauge",
        "The uplinks, their devices and what the operator ordered.",
        [
            ({"uplink": one.name, "device": one.device, "order": one.admin.state}, 1)
            for one in status.uplinks
        ],
    )
    yield Metric(
        "nib_uplink_up",
        "gauge",
        "Whether it is up.",
        [(labels, int(one.health == "up")) for labels, one in lines],
    )
    yield Metric(
        "nib_uplink_state",
        "gauge",
        "1 for the state that it is in.",
        [
            ({**labels, "state": state}, int(one.health == state))
            for labels, one in lines
            for state in STATES
        ],
    )
    yield Metric(
        "nib_uplink_state_since_timestamp_seconds",
        "gauge",
        "Since when it is in this state.",
        [(labels, boot_s + one.since_s) for labels, one in lines],
    )
    yield Metric(
        "nib_uplink_outages_total",
        "counter",
        "How often it went down since the boot.",
        [(labels, one.outages) for labels, one in lines],
    )
    yield Metric(
        "nib_uplink_new_flows_ratio",
        "gauge",
        "The part of the new flows that it gets.",
        [(labels, one.share) for labels, one in lines],
    )
    yield Metric(
        "nib_uplink_loss_ratio",
        "gauge",
        "Probes without an answer, of the last 100.",
        [(labels, one.loss) for labels, one in lines if one.loss is not None],
    )
    yield Metric(
        "nib_uplink_rtt_seconds",
        "gauge",
        "The median time of the last 20 answers.",
        [(labels, one.rtt_ms / 1000) for labels, one in lines if one.rtt_ms is not None],
    )
    yield Metric(
        "nib_uplink_jitter_seconds",
        "gauge",
        "How much an answer differs from the next of the same target.",
        [(labels, one.jitter_ms / 1000) for labels, one in lines if one.jitter_ms is not None],
    )
    carried = [
        ({"uplink": uplink.name}, counters[uplink.device])
        for uplink in status.uplinks
        if uplink.device in counters
    ]
    yield Metric(
        "nib_uplink_receive_bytes_total",
        "counter",
        "Bytes that came in by its device.",
        [(labels, of.rx_bytes) for labels, of in carried],
    )
    yield Metric(
        "nib_uplink_transmit_bytes_total",
        "counter",
        "Bytes that went out by its device.",
        [(labels, of.tx_bytes) for labels, of in carried],
    )


def _text(metric: Metric) -> str:
    if not metric.samples:
        return ""
    head = f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"
    return head + "".join(_sample(metric.name, labels, value) for labels, value in metric.samples)


def _sample(name: str, labels: Labels, value: float) -> str:
    named = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    # whole numbers keep all their digits
    return f"{name}{{{named}}} {value!r}\n" if named else f"{name} {value!r}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


AWAY = _text(_whether_up(0))
"""What is known while the monitor does not answer."""

"""What was written by another version of nib is read as far as it can be."""

import json
from dataclasses import asdict, dataclass, field, fields

import pytest

import samples
from nib import codec, plan, status
from nib.codec import decode


@dataclass(frozen=True, slots=True)
class Wheel:
    spokes: int
    size_mm: float = 622.0


@dataclass(frozen=True, slots=True)
class Bicycle:
    name: str
    wheels: tuple[Wheel, ...] = (Wheel(36),)
    bags: tuple[str, ...] = field(default_factory=tuple)
    bell: str | None = None


def test_a_field_that_is_missing_has_its_default() -> None:
    assert decode(Bicycle, {"name": "a"}) == Bicycle("a")
    bicycle = decode(Bicycle, {"name": "a", "wheels": [{"spokes": 20}], "bell": "b"})
    assert bicycle == Bicycle("a", (Wheel(20),), bell="b")


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"wheels": []},
        {"name": 3},
        {"name": "a", "wheels": [{}]},
        {"name": "a", "wheels": [{"spokes": 20, "size_mm": "622"}]},
        {"name": "a", "wheels": [20]},
        {"name": "a", "wheels": None},
        {"name": "a", "bags": None},
        ["name"],
        "name",
        None,
        3,
    ],
)
def test_what_is_there_is_what_it_should_be_and_what_has_no_default_is_there(data: object) -> None:
    with pytest.raises(ValueError, match="damaged bicycle"):
        decode(Bicycle, data)


@dataclass(frozen=True, slots=True)
class Gear:
    teeth: int = 11


@dataclass(frozen=True, slots=True)
class Part:
    made_of: Wheel | Gear | None


@pytest.mark.parametrize("part", [Part(Wheel(20)), Part(Gear(12)), Part(None)])
def test_of_a_union_that_part_which_was_written(part: Part) -> None:
    assert codec.encode(part) == asdict(part)
    assert decode(Part, codec.encode(part)) == part


@pytest.mark.parametrize("data", ["steel", 3, ["teeth"], []])
def test_a_union_does_not_hide_damage(data: object) -> None:
    with pytest.raises(ValueError, match="damaged part"):
        decode(Part, {"made_of": data})


def test_the_status_of_an_older_monitor_is_taken_over() -> None:
    """A monitor that was upgraded forgets no outage and no order."""
    family = {
        "family": 4, "health": "down", "since_s": 7.5, "reason": "r", "address": None,
        "gateway": None, "loss": 1.0, "rtt_ms": None, "share": 0.0, "outages": 3,
    }  # fmt: skip
    uplink = {"name": "dsl", "device": "wan2", "weight": 1, "tier": 1, "families": [family]}
    old = {"version": status.VERSION, "at_s": 9.0, "uplinks": [uplink]}
    read = status.from_json(json.dumps(old))
    assert read.uplinks[0].families[0].outages == 3
    assert read.uplinks[0].admin == status.AUTO
    assert read.discounted == ()


def test_a_plan_without_what_has_a_default_is_read() -> None:
    data = json.loads(plan.to_json(samples.plan()))
    probe = next(iter(data["uplinks"]))["probe"]
    for late in ("damping_ms", "canary_ms", "loss", "rtt", "jitter"):
        del probe[late]
    read = plan.from_json(json.dumps(data)).uplinks[0].probe
    assert (read.damping_ms, read.canary_ms, read.loss) == (0, 0, None)
    assert len(fields(read)) > len(probe)
    assert codec.decode(type(read), probe) == read

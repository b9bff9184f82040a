"""The history on disk: its bound, and what a power cut or a kill leaves of it."""

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from line import probe
from nib.history.outages import Outage, outages
from nib.history.reading import events, records
from nib.history.recorder import Recorder
from nib.history.records import Minute, Record, Round, Traffic, from_line, to_line
from nib.history.settings import changed
from nib.history.store import Store, read
from nib.stream import Change, Sample, Told, to_json

BEGIN_S = 1_800_000_000.0
KEEP = 1_000_000

RECORDS: list[Record] = [
    Round(BEGIN_S + 0.5, "cable", 6, 3, (20.125, 30.0), burst=True),
    Minute(1_800_000_000, "cable", 4, 60.0, 59.5, 0.75, 120, 1, None, None),
    Traffic(1_800_000_000, "dsl", 1000, 0),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    assert from_line(type(record), to_line(record)) == record


def test_what_an_older_nib_wrote_is_read() -> None:
    line = '[1800000000.0,"cable",4,1,[20.0]]\n'
    assert from_line(Round, line) == Round(BEGIN_S, "cable", 4, 1, (20.0,), burst=False)


def lines(count: int) -> list[str]:
    return [to_line(Traffic(int(BEGIN_S) + place, "cable", place, 7)) for place in range(count)]


@given(st.integers(0, 30), st.integers(0, 2000))
def test_whatever_a_power_cut_leaves_reads_as_a_beginning(count: int, cut: int) -> None:
    """And the next recorder goes on behind it, as if the torn line had never been."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        store = Store(folder, KEEP)
        for line in lines(count):
            store.append("traffic", BEGIN_S, line)
        store.close()
        for path in folder.iterdir():
            path.write_bytes(path.read_bytes()[:cut])
        left = list(read(folder, "traffic", 0.0))
        assert left == lines(count)[: len(left)]
        if count and cut < len("".join(lines(count))):
            assert len("".join(left)) <= cut < len("".join(lines(count)[: len(left) + 1]))
        again = Store(folder, KEEP)
        again.append("traffic", BEGIN_S + 99, "[1]\n")
        again.close()
        assert list(read(folder, "traffic", 0.0)) == [*left, "[1]\n"]


def test_it_keeps_to_its_room_and_gives_up_probes_first(tmp_path: Path) -> None:
    store = Store(tmp_path, KEEP)
    store.append("events", BEGIN_S, '"the first"\n')
    for place in range(100_000):
        # random enough not to vanish when it is packed
        store.append("rounds", BEGIN_S + place, f'"{hash((place, "x")):x}{hash((place, 1)):x}"\n')
    store.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= KEEP
    assert list(read(tmp_path, "events", 0.0)) == ['"the first"\n']
    kept = list(read(tmp_path, "rounds", 0.0))
    assert 0 < len(kept) < 100_000
    assert kept[-1] == f'"{hash((99_999, "x")):x}{hash((99_999, 1)):x}"\n'


def test_a_segment_that_was_packed_but_not_removed_is_there_once(tmp_path: Path) -> None:
    store = Store(tmp_path, KEEP)
    many = [f'"{place:060}"\n' for place in range(2000)]
    for line in many:
        store.append("rounds", BEGIN_S, line)
    store.close()
    packed = next(tmp_path.glob("*.gz"))
    packed.with_suffix("").write_text("torn\n")
    assert list(read(tmp_path, "rounds", 0.0)) == many
    Store(tmp_path, KEEP).close()
    assert list(read(tmp_path, "rounds", 0.0)) == many


def told(at_s: float, item: Change | Sample) -> str:
    return to_json(Told(at_s, BEGIN_S + at_s, item))


DOWN = Change("cable", 4, "up", "down", "nothing answers", 10.0, "o-1")
UP = Change("cable", 4, "down", "up", "it answers", 70.0, "o-1")


def test_what_is_told_is_found_again(tmp_path: Path) -> None:
    opened: list[Store] = []

    def store() -> Store:
        opened.append(Store(tmp_path, KEEP))
        return opened[0]

    recorder = Recorder(store)
    recorder.hear(told(9.5, Sample("cable", 4, 1, (20.0,), 0, 9.0)))
    recorder.hear(told(10.0, DOWN))
    recorder.hear("no line of the stream\n")
    recorder.hear(told(70.0, UP))
    # before anything was closed: a kill -9 loses nothing that was heard
    assert list(records(Round, 0.0, tmp_path)) == [Round(BEGIN_S + 9, "cable", 4, 1, (20.0,))]
    assert outages(events(0.0, tmp_path)) == (
        Outage("cable", 4, BEGIN_S + 10, "nothing answers", "o-1", BEGIN_S + 70),
    )
    opened[0].close()


def test_a_disk_that_refuses_is_said_and_survived(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(lambda: Store(tmp_path / "missing", KEEP))
    recorder.hear(told(10.0, DOWN))
    recorder.hear(told(70.0, UP))
    assert capsys.readouterr().err.count("nothing is written down for a while") == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fall", "write probe.KEY=VALUE"),
        ("probe.color=3", "write probe.KEY=VALUE"),
        ("probe.fall=0", "must be a whole number from 1 to 100"),
        ("probe.interval=5", "must be a number and ms, s, m or h"),
        ("probe.interval=1ms", "must be between 100ms and 1h"),
    ],
)
def test_no_setting(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        changed(probe(), [text])


def test_settings() -> None:
    of = changed(probe(), ["probe.fall=7", "interval=2s"])
    assert (of.fall, of.interval_ms, of.rise) == (7, 2000, probe().rise)


def test_a_day_of_probes_of_a_line_packs_well(tmp_path: Path) -> None:
    """As the documentation says, at the defaults; what is being written is not counted."""
    random = Random(1)
    store = Store(tmp_path, 50_000_000)
    for place in range(2 * 86400):
        rtts = () if random.random() < 0.01 else (round(random.gauss(20, 2), 3),)
        store.append("rounds", BEGIN_S, to_line(Round(BEGIN_S + place / 2, "cable", 4, 1, rtts)))
    size = sum(path.stat().st_size for path in tmp_path.glob("*.gz"))
    store.close()
    assert size < 1_000_000

"""`nib report`: a month of the uplinks in Markdown, CSV and HTML."""

import csv
import time
from html.parser import HTMLParser

import pytest

from nib.history.monthly import HEIGHT, WIDTH, Report, as_csv, bars, html, make_report, markdown
from nib.history.outages import Outage
from nib.history.records import Minute, Traffic

DAYS = ["2026-11-01", "2026-11-02", "2026-11-03"]
DAY_S = 86400
FIRST_S = 1793491200  # 2026-11-01 00:00 UTC
NOW_S = FIRST_S + 3 * DAY_S


def utc(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time_s))


def day_of(time_s: float) -> str:
    return utc(time_s)[:10]


def minute(day: int, up_s: float, **more: object) -> Minute:
    of = {"share": 0.75, "asked": 120, "lost": 12, "rtt_ms": 10.0 * day, "slowest_ms": 99.5} | more
    return Minute(FIRST_S + (day - 1) * DAY_S + 60, "cable", 4, 60.0, up_s, **of)  # type: ignore[arg-type]


def made() -> Report:
    return make_report(
        "2026-11",
        DAYS,
        [minute(1, 60.0), minute(3, 30.0), minute(5, 0.0)],
        [Traffic(FIRST_S, "cable", 3000, 1000), Traffic(FIRST_S + DAY_S, "dsl", 6000, 6000)],
        [Outage("cable", 4, FIRST_S + 120, "nobody <b>answers</b> | at all", "cable4-1")],
        day_of=day_of,
    )


def test_days_and_the_month_add_up() -> None:
    (line,) = made().lines
    assert line.series("available") == [1.0, None, 0.5]
    assert line.series("rtt_ms") == [10.0, None, 30.0]
    # what is outside of the month does not count
    assert (line.total.known_s, line.total.up_s, line.total.loss) == (120.0, 90.0, 0.1)
    report = made()
    assert [(of.uplink, report.share(of)) for of in report.carried] == [
        ("cable", 0.25),
        ("dsl", 0.75),
    ]


def test_markdown_is_a_table_that_no_reason_breaks() -> None:
    text = markdown(made(), NOW_S, utc)
    assert "| cable | IPv4 | 75% | 30 s | 10% | 20 ms | 99.5 ms | 75% |\n" in text
    assert "| dsl | 6 kB | 6 kB | 75% |\n" in text
    assert "nobody <b>answers</b> \\| at all |\n" in text


def test_csv_has_a_row_for_each_day_that_is_known() -> None:
    rows = list(csv.DictReader(as_csv(made()).splitlines()))
    assert [row["day"] for row in rows] == ["2026-11-01", "2026-11-03"]
    assert (rows[0]["up_s"], rows[0]["received_bytes"], rows[1]["received_bytes"]) == (
        "60.0",
        "3000",
        "0",
    )


class Page(HTMLParser):
    """What a page loads, runs and shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    text = html(made(), NOW_S, utc, "1.2")
    page = Page(text)
    assert page.open == []
    assert not {"script", "img", "link", "b"} & {tag for tag, _ in page.tags}
    assert not any("href" in of or "src" in of for _, of in page.tags)
    assert "http" not in text
    # three measures of the line and the traffic of two uplinks, each with a bar a day
    assert [tag for tag, _ in page.tags].count("svg") == 5
    drawn = [of for tag, of in page.tags if tag == "rect"]
    assert len(drawn) == 15 and sum(of.get("class") == "unknown" for of in drawn) == 3
    assert "2026-11-03: 50%" in text and "nobody &lt;b&gt;answers" in text


def test_an_empty_month_is_a_report_too() -> None:
    empty = make_report("2026-11", DAYS, [], [], [], day_of=day_of)
    assert markdown(empty, NOW_S, utc).count("None.\n") == 3
    assert Page(html(empty, NOW_S, utc, "1.2")).open == []
    assert as_csv(empty).count("\n") == 1


@pytest.mark.parametrize("most", [None, 1.0])
def test_bars_stay_inside_the_chart(most: float | None) -> None:
    for bar in bars(DAYS, [0.0, 1.0, None], most):
        assert bar.x >= 0 and bar.x + bar.width <= WIDTH
        assert bar.y >= 0 and bar.y + bar.height <= HEIGHT

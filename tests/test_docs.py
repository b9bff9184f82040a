"""What the documentation shows is what nib does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nib.check import check
from nib.document import parse
from nib.planner import make_plan
from nib.render import render

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def examples() -> Iterator[object]:
    """Every block of YAML in the documentation, named by page and line."""
    for page in PAGES:
        text = page.read_text()
        for block in re.finditer(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, block.start()) + 1
            yield pytest.param(block[1], id=f"{page.name}:{line}")


@pytest.mark.parametrize("text", list(examples()))
def test_an_example_compiles(text: str) -> None:
    assert render(make_plan(check(parse("balance.yaml", text.encode()))))


def test_the_readme_shows_the_first_example() -> None:
    assert (ROOT / "examples/home.yaml").read_text() in (ROOT / "README.md").read_text()


def test_the_readme_and_ci_call_the_same_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "\ntests/run\n" in readme
    assert (ROOT / ".ci/run").read_text().endswith("\ntests/run\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_what_went_wrong_elsewhere_is_tested() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/lessons.md").read_text()))
    sources = (path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    defined = {name for text in sources for name in re.findall(r"def (test_\w+)\(", text)}
    assert len(named) > 40
    assert named - defined == set()


def test_every_key_of_the_schema_is_documented() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    schema = json.loads((ROOT / "gen/nib/schema.json").read_text())
    keys: set[str] = set()

    def collect(part: object) -> None:
        if isinstance(part, dict):
            keys.update(part.get("properties", {}))
            for inner in part.values():
                collect(inner)

    collect(schema)
    words = set(re.findall(r"\w+", page))
    assert keys - words == set()

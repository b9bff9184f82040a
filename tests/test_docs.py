"""What the documentation shows is what nib does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import private
import samples
from vm.test_lines import PEER, PORT

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: Path) -> Iterator[tuple[str, str, str]]:
    """The blocks of code of a page: their names (page and line), languages and texts."""
    text = page.read_text()
    for block in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield f"{page.name}:{text.count(chr(10), 0, block.start()) + 1}", block[1], block[2]


def examples() -> Iterator[object]:
    """Every block of YAML in the documentation."""
    for page in PAGES:
        for name, language, text in blocks(page):
            if language == "yaml":
                yield pytest.param(text, id=name)


def fragments() -> Iterator[tuple[str, list[str]]]:
    """The rules of one's own in every block of the documentation, with its name."""
    for page in PAGES:
        for name, _, text in blocks(page):
            if rules := re.findall(r"^ *(add rule inet nib .*)$", text, re.MULTILINE):
                yield name, rules


@pytest.mark.parametrize("text", list(examples()))
def test_an_example_compiles_and_loads(text: str, tmp_path: Path) -> None:
    private.load([str(samples.files(text)["nib/nib.nft"])], tmp_path)


def test_every_rule_of_ones_own_is_loaded() -> None:
    shown = sum(page.read_text().count("add rule inet nib") for page in PAGES)
    assert sum(len(rules) for _, rules in fragments()) == shown > 0


@pytest.mark.parametrize("rules", [pytest.param(rules, id=name) for name, rules in fragments()])
def test_rules_of_ones_own_load(rules: list[str], tmp_path: Path) -> None:
    private.load([str(samples.files()["nib/nib.nft"]), "\n".join(rules) + "\n"], tmp_path)


def test_what_the_lab_tried_is_what_is_shown() -> None:
    foomuuri = (ROOT / "tests/beside/foomuuri.conf").read_text()
    for page, tried in (("uplinks.md", PEER), ("uplinks.md", PORT), ("beside.md", foomuuri)):
        shown = [text for _, _, text in blocks(ROOT / "docs" / page)]
        assert tried in [re.sub(r"\A# .*\n", "", text) for text in shown]


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

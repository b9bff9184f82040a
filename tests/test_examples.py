"""Every example: compiled, kept as golden files, really loaded, with every flip."""

from pathlib import Path

import pytest

import private
import samples
from nib.plan import from_json, to_json
from nib.render import FIRST_LINE, Link
from nib.report import plan_report
from nib.services import SERVICES
from nib.state import render_state

GOLDEN = Path(__file__).parent / "golden"
NAMES = sorted(path.stem for path in samples.EXAMPLES.glob("*.yaml"))


def text(name: str) -> str:
    return (samples.EXAMPLES / f"{name}.yaml").read_text()


def kept(folder: Path) -> dict[str, str | Link]:
    return {
        str(path.relative_to(folder)): Link(str(path.readlink()))
        if path.is_symlink()
        else path.read_text()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def remake(folder: Path, files: dict[str, str | Link]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_symlink() or not path.is_dir():
            path.unlink()
        else:
            path.rmdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case Link(target):
                path.symlink_to(target)
            case str():
                path.write_text(content)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, update_golden: bool) -> None:
    files = dict(samples.files(text(name)))
    if update_golden:
        remake(GOLDEN / name, files)
    assert kept(GOLDEN / name) == files


def test_no_golden_without_an_example() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_files_say_whose_they_are(name: str) -> None:
    for path, content in samples.files(text(name)).items():
        if isinstance(content, str) and not path.endswith(".json"):
            assert content.startswith(FIRST_LINE + "\n"), path
            assert content.endswith("\n") and not content.endswith("\n\n"), path
            assert content.isascii(), path


@pytest.mark.parametrize("name", NAMES)
def test_nft_takes_it_and_every_flip(name: str, tmp_path: Path) -> None:
    """A table that loads can still refuse a flip; so each is loaded, and a reload after it."""
    plan, files = samples.plan(text(name)), samples.files(text(name))
    table, stopped = str(files["nib/nib.nft"]), str(files["nib/stopped.nft"])
    flips = [render_state(plan, live) for live in samples.lives(plan)]
    private.load([table, table, *flips, table, stopped, stopped, table], tmp_path)


def test_any_example_can_follow_any_other(tmp_path: Path) -> None:
    """Whoever edits balance.yaml reloads over the table of the one before."""
    tables = [str(samples.files(text(name))["nib/nib.nft"]) for name in NAMES]
    private.load(
        [table for first in tables for other in tables for table in (first, other)], tmp_path
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_travels(name: str) -> None:
    plan = samples.plan(text(name))
    assert from_json(to_json(plan)) == plan


@pytest.mark.parametrize("name", NAMES)
def test_the_report_names_everything(name: str) -> None:
    plan = samples.plan(text(name))
    report = plan_report(plan)
    names = [(u.name, u.device) for u in plan.uplinks] + [(n.name, n.device) for n in plan.lans]
    for name_and_device in names:
        assert all(word in report for word in name_and_device)


def test_every_service_with_every_kind_of_limit_loads(tmp_path: Path) -> None:
    limits = ("", ", limit: {rate: 5/minute}", ", limit: {rate: 5/minute, per: source}")
    allow = "".join(
        f"    - {{service: {name}, source: 203.0.113.0/24{limit}}}\n"
        f"    - {{service: {name}{limit}}}\n"
        for name in SERVICES
        for limit in limits
    )
    text = samples.uplinks(2, [1, 1]) + "firewall:\n  allow:\n" + allow
    private.load([str(samples.files(text)["nib/nib.nft"])], tmp_path)

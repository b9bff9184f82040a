"""From Net-ISP-Balance: old files become a balance.yaml that compiles, and nothing is hidden."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import private
from nib.check import check
from nib.document import Rejected, parse
from nib.importer import SCRIPTS, Imported, Old, translate
from nib.importer.files import import_file
from nib.importer.remarks import Kind, Source
from nib.planner import make_plan
from nib.render import render

CORPUS = Path(__file__).parent / "import"
NAMES = sorted(path.name for path in CORPUS.iterdir())


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Paths are told as they are given: from where the old files are."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def imported(name: str) -> Imported:
    with inside(CORPUS / name):
        return import_file("nib", "balance.conf")


def compiles(text: str) -> None:
    assert render(make_plan(check(parse("balance.yaml", text.encode()))))


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus(name: str, update_golden: bool) -> None:
    made = imported(name)
    for kept, answer in (("balance.yaml", made.text), ("report.txt", made.report)):
        if update_golden:
            (CORPUS / name / kept).write_text(answer, encoding="utf-8")
        assert answer == (CORPUS / name / kept).read_text(encoding="utf-8")
    compiles(made.text)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_left_out_is_told_twice(name: str) -> None:
    """In the report, and as a comment where it belongs; and the exit status knows."""
    made = imported(name)
    left = [remark for remark in made.remarks if remark.kind is Kind.LEFT_OUT]
    assert made.complete is (not left)
    for remark in left:
        where = f"{remark.spot.file}:{remark.spot.place.line}"
        assert f"\n{where}:" in f"\n{made.report}"
        assert f"# left out ({where}):" in made.text


def test_the_lines_for_fragments_load(tmp_path: Path) -> None:
    """Those that the reports propose, beside what the corpus becomes."""
    for name in ("closing", "order"):
        made = imported(name)
        lines = re.findall(r"^    hint: .*: (add rule .*)$", made.report, re.MULTILINE)
        assert len(lines) == made.report.count("NAME.nft") > 1
        plan = make_plan(check(parse("balance.yaml", made.text.encode())))
        private.load([str(render(plan)["nib/nib.nft"]), "\n".join(lines) + "\n"], tmp_path)


def test_the_documentation_shows_what_happens() -> None:
    page = (Path(__file__).parent.parent / "docs/import.md").read_text()
    _, conf, made = re.findall(r"^```\w*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    text = translate(Old(Source("balance.conf", conf), {})).text
    assert text.partition("\n\n")[2] == made


# -- refused


def refused(conf: str) -> str:
    with pytest.raises(Rejected) as caught:
        translate(Old(Source("balance.conf", conf), {}))
    return caught.value.report()


def test_without_an_uplink_there_is_nothing() -> None:
    answer = refused("HOME lan0 lan\nNORTH wan/0 isp\n")
    assert answer.startswith("balance.conf: no service with the role isp is left")
    assert "balance.conf:2:7: left out: 'wan/0' cannot be a device" in answer


def test_more_uplinks_than_marks() -> None:
    conf = "".join(f"ISP{i} wan{i} isp\n" for i in range(63))
    assert "63 uplinks, but the mask 0x7f000000 has marks for 62" in refused(conf)


# -- the command


def call(*arguments: object, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    program = "import sys; from nib.operator import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", program, "import", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=private.environment(),
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_the_yaml_and_the_report_are_apart() -> None:
    done = call("balance.conf", cwd=CORPUS / "monitor")
    assert done.returncode == 1
    assert done.stdout == (CORPUS / "monitor/balance.yaml").read_text()
    assert (CORPUS / "monitor/report.txt").read_text() in done.stderr
    assert done.stderr.startswith("nib: reading balance.conf\n")
    assert done.stderr.endswith(
        f"nib: 2 uplinks, 1 lan; {done.stdout.count('left out (')} left out, 1 note\n"
    )


def test_out_writes_once(tmp_path: Path) -> None:
    new = tmp_path / "balance.yaml"
    done = call("balance.conf", "--out", new, cwd=CORPUS / "home")
    assert (done.returncode, done.stdout) == (0, "")
    assert new.read_text() == (CORPUS / "home/balance.yaml").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["balance.yaml"]
    new.write_text("mine\n")
    again = call("balance.conf", "--out", new, cwd=CORPUS / "home")
    assert again.returncode == 2
    assert again.stderr == f"nib: --out {new}: it exists, and is not overwritten\n"
    assert new.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("out", "status", "says"),
    [("nowhere/new.yaml", 2, "no such file"), ("", 2, "needs the name"), (".", 2, "it exists")],
)
def test_out_that_cannot_be(out: str, status: int, says: str, tmp_path: Path) -> None:
    (tmp_path / "balance.conf").write_text("NORTH wan0 isp\n")
    done = call("balance.conf", "--out", out, cwd=tmp_path)
    assert done.returncode == status
    assert says in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["balance.conf"]


def test_standard_input() -> None:
    done = call("-", cwd=CORPUS, stdin=(CORPUS / "home/balance.conf").read_text())
    assert (done.returncode, done.stdout) == (0, (CORPUS / "home/balance.yaml").read_text())


@pytest.mark.parametrize(
    ("raw", "status", "says"),
    [
        (b"", 2, "no service with the role isp"),
        (b"\0\1\2", 2, "it is no text"),
        (b"#" * (1 << 17), 2, "too large"),
        (b"HOME lan0 lan\n", 2, "no service with the role isp"),
    ],
)
def test_files_that_are_none(raw: bytes, status: int, says: str, tmp_path: Path) -> None:
    (tmp_path / "balance.conf").write_bytes(raw)
    done = call("balance.conf", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (status, "")
    assert says in done.stderr
    assert call("nowhere.conf", cwd=tmp_path).returncode == 2


def test_a_script_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "balance.conf").write_text("NORTH wan0 isp\n")
    (tmp_path / "balance/pre-run").mkdir(parents=True)
    (tmp_path / "balance/pre-run/program").write_bytes(b"\x7fELF\0\0")
    done = call("balance.conf", cwd=tmp_path)
    assert done.returncode == 1
    assert "balance/pre-run/program:1:1: left out: this is no text" in done.stderr


# -- no surprise


def old_lines(path: Path) -> list[str]:
    return path.read_bytes().decode("latin-1").splitlines()


lines = st.sampled_from(
    [
        *(line for name in NAMES for line in old_lines(CORPUS / name / "balance.conf")),
        *("=", "mode", "a b isp", "x\ty\tlan", "isp isp isp isp isp isp"),
        "A wan9 isp 1.1.1.1 99999999999",
    ]
)
statements = st.sampled_from(
    [
        line
        for name in NAMES
        for path in [*sorted((CORPUS / name).glob("balance/*/*")), CORPUS / name / "interfaces"]
        if path.is_file()
        for line in old_lines(path)
    ]
)
pieces = st.sampled_from(
    [
        *"(){}[];,.$@%'\"#-<>=!\\\n \t",
        *("$B->", "foreach ", "map {", "qw(", "my $x = ", "=>"),
        *("iptables ", "-A INPUT ", "--dport "),
    ]
)


def judged(conf: str, shell: str, perl: str) -> None:
    scripts = {
        directory: (Source(f"{directory}/a", shell), Source(f"{directory}/b.pl", perl))
        for directory in SCRIPTS
    }
    try:
        made = translate(Old(Source("balance.conf", conf), scripts, interfaces=Source("i", shell)))
    except Rejected as rejected:
        assert rejected.name == "balance.conf", rejected.report()
    else:
        assert check(parse("balance.yaml", made.text.encode()))
        assert all(line.isprintable() for line in made.report.splitlines())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(lines, max_size=12),
    st.lists(statements | pieces, max_size=12),
    st.lists(statements | pieces, max_size=12),
)
def test_any_mixture_of_lines(conf: list[str], shell: list[str], perl: list[str]) -> None:
    judged("NORTH wan0 isp\n" + "\n".join(conf), "\n".join(shell), "".join(perl))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60), st.text(max_size=60), st.lists(pieces | st.text(max_size=4)))
def test_any_text(conf: str, shell: str, perl: list[str]) -> None:
    judged("NORTH wan0 isp\n" + conf, shell, "".join(perl))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes(raw: bytes) -> None:
    judged(*[raw.decode("latin-1").replace("\0", "")] * 3)


@pytest.mark.parametrize(
    "text",
    [
        *("(" * 5000, "map {" * 5000, "-" * 5000, "$B->" * 5000, "foreach (1,2) {" * 200),
        *("'" + "a" * 60000, ";a" * 5000, "a;\n" * 5000),
        "$B->forward(" + "map {" * 20 + "1" + "} (1,2,3)" * 20 + ");",
    ],
    ids=range(9),
)
def test_what_would_take_for_ever(text: str) -> None:
    judged("NORTH wan0 isp\nHOME lan0 lan\n", text, text)

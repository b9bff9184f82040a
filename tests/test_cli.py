"""nib-gen and nib as people call them: what they say, where, and with which exit status."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import private
import samples
from nib import plan as plans
from nib.paths import DEBIAN
from nib.render import render

HOME = samples.EXAMPLES / "home.yaml"
GEN = "from nib.cli import main"
NIB = "from nib.operator import main"


def call(
    *arguments: object, stdin: str = "", cwd: Path | None = None, program: str = GEN, **env: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {program}; sys.exit(main())", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=private.environment(**env),
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_check_says_which_file_is_fine() -> None:
    done = call(HOME, "--check")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"nib-gen: reading {HOME}\nnib-gen: {HOME} is fine\n"


def test_without_out_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "balance.yaml").write_text(samples.TWO)
    done = call(cwd=tmp_path)
    assert done.returncode == 0
    assert "nib-gen: reading balance.yaml" in done.stderr
    assert "nothing is written without --out" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["balance.yaml"]


def test_says_what_it_wrote(tmp_path: Path) -> None:
    done = call(HOME, "--out", tmp_path)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert f"created {tmp_path}/nib/nib.nft" in lines
    assert len(lines) == len(samples.files(HOME.read_text()))
    again = call(HOME, "--out", tmp_path)
    assert again.stdout == f"{len(lines)} unchanged in {tmp_path}\n"


def test_diff_as_diff_does(tmp_path: Path) -> None:
    assert call(HOME, "--diff", "--out", tmp_path).returncode == 1
    assert list(tmp_path.iterdir()) == []
    call(HOME, "--out", tmp_path)
    done = call(HOME, "--diff", "--out", tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "nib/nib.nft").write_text("mine\n")
    done = call(HOME, "--diff", "--out", tmp_path)
    assert done.returncode == 2
    assert "somebody else's" in done.stderr
    assert call(HOME, "--check", "--out", tmp_path).returncode == 2


def test_show() -> None:
    done = call(HOME, "--show")
    assert done.returncode == 0
    for word in ("cable", "wan1", "0x2a000000", "7042", "75%", "0.91 s", "192.168.10.1/24"):
        assert word in done.stdout
    assert done.stdout.isascii()


def test_show_json_is_the_plan() -> None:
    done = call(HOME, "--show", "--json")
    assert plans.from_json(done.stdout) == samples.plan(HOME.read_text())


def test_schema_is_json() -> None:
    assert json.loads(call("--schema").stdout)["properties"]["uplinks"]


def test_version_and_help() -> None:
    assert call("--version").stdout == "nib-gen 0.1.0\n"
    assert "--out DIR" in call("--help").stdout
    assert call("--version", program=NIB).stdout == "nib 0.1.0\n"
    assert "status" in call("--help", program=NIB).stdout
    assert "--yes" in call("apply", "--help", program=NIB).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--json"],
        ["--diff"],
        ["--check", "--diff"],
        ["--schema", "x.yaml"],
        ["--show", "--out", "x"],
        ["--manifest", "--out", "x"],
        ["--etc", "build"],
        ["--etc", "/with space"],
        ["--program", "nft"],
        ["--program", "nft=%h/nft"],
        ["--program", "sh=/bin/sh"],
        ["--nonsense"],
        ["one.yaml", "two.yaml"],
    ],
)
def test_usage(arguments: list[str]) -> None:
    done = call(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "nib-gen: error: " in done.stderr


def test_reads_standard_input() -> None:
    done = call("-", "--show", "--json", stdin=samples.TWO)
    assert "reading standard input" in done.stderr
    assert plans.from_json(done.stdout) == samples.plan()


def test_a_rejected_file_says_everything(tmp_path: Path) -> None:
    (tmp_path / "balance.yaml").write_text(
        "uplinks: {a: {device: wan1, adress: dhcp, weight: x}}\n"
    )
    done = call("balance.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "balance.yaml:1:" in done.stderr
    assert "adress" in done.stderr and "weight" in done.stderr


def test_a_warning_is_said_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "balance.yaml").write_text(samples.TWO + "marks: {mask: 0xff}\n")
    for arguments in (["--check"], ["--show"], ["--out", "etc"]):
        done = call(*arguments, cwd=tmp_path)
        assert done.returncode == 0
        assert "\nbalance.yaml:6:15: warning: marks.mask: the mask 0x000000ff shares" in done.stderr
        assert "hint: if any of them runs here" in done.stderr
        assert "warning" not in done.stdout


@pytest.mark.parametrize(
    ("file", "status", "says"),
    [
        ("nowhere.yaml", 2, "no such file"),
        (".", 2, "is a directory"),
        ("/dev/null", 2, "is empty"),
        ("/dev/zero", 2, "more than 1 MiB"),
        ("file/below", 2, "not a directory"),
        ("loop", 3, "too many levels of symbolic links"),
        ("/proc/self/mem", 3, "input/output error"),
    ],
)
def test_files_that_are_none(file: str, status: int, says: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    done = call(file, cwd=tmp_path)
    assert done.returncode == status
    assert says in done.stderr


def test_no_file_at_all(tmp_path: Path) -> None:
    if Path("/etc/nib/balance.yaml").exists():
        pytest.skip("this machine has a balance.yaml of its own")
    done = call(cwd=tmp_path)
    assert done.returncode == 2
    assert "no balance.yaml here" in done.stderr


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "huge.yaml").open("wb") as stream:
        stream.truncate(1 << 40)
    assert call(tmp_path / "huge.yaml").returncode == 2


def test_an_output_that_nobody_reads() -> None:
    done = private.run(f'{private.python("nib-gen")} "$1" --show 2>/dev/null | true', HOME)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("option", ["--show", "--schema", "--show --json"])
def test_an_output_that_is_full(option: str) -> None:
    done = (
        private.run(f"{private.python('nib-gen')} $2 $1 >/dev/full", HOME, option)
        if (option != "--schema")
        else private.run(f"{private.python('nib-gen')} --schema >/dev/full")
    )
    assert done.returncode == 3
    assert done.stderr.endswith("cannot write the output: no space left on device\n")


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&-", "2>/dev/full"])
def test_closed_streams(redirection: str) -> None:
    done = private.run(f'{private.python("nib-gen")} "$1" --show {redirection}', HOME)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr


def test_an_ascii_terminal(tmp_path: Path) -> None:
    text = "uplinks: {a: {device: wan1, address: dhcp}}  # für alle\nzonen: ä\n"
    (tmp_path / "balance.yaml").write_text(text, encoding="utf-8")
    done = call("balance.yaml", cwd=tmp_path, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 2
    assert done.stderr.isascii()


def test_interrupted() -> None:
    """Ctrl-C while it waits for standard input."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; {GEN}; sys.exit(main())", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=private.environment(),
    )
    assert process.stderr
    first = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=10)
    assert process.returncode == 130
    assert first + rest == "nib-gen: reading standard input\nnib-gen: interrupted\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_permission(tmp_path: Path) -> None:
    """As the user nobody, who may read the code but neither the file nor the folder."""
    (tmp_path / "secret.yaml").write_text(samples.TWO)
    (tmp_path / "secret.yaml").chmod(0o600)
    (tmp_path / "etc").mkdir(mode=0o755)
    # Python itself may be out of nobody's reach: all that is needed is loaded before.
    program = (
        "import os, sys, samples; from nib import changes, cli, install; samples.files(); "
        "os.setgid(65534); os.setuid(65534); sys.argv[0] = 'nib-gen'; sys.exit(cli.main())"
    )

    def as_nobody(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, *map(str, arguments)]
        for parent in (tmp_path, *tmp_path.parents[:-2]):
            parent.chmod(parent.stat().st_mode | 0o055)
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=private.environment(PYTHONPATH=os.pathsep.join(sys.path)),
        )

    done = as_nobody(tmp_path / "secret.yaml")
    assert done.returncode == 3
    assert done.stderr.endswith("secret.yaml: permission denied\n")
    done = as_nobody("-", "--out", tmp_path / "etc", stdin=samples.TWO)
    assert done.returncode == 3
    assert done.stderr.endswith("permission denied; nothing was changed\n")
    assert list((tmp_path / "etc").iterdir()) == []


def test_the_same_bytes_everywhere(tmp_path: Path) -> None:
    """No trace of the place, the language, the time or the order of a hash table."""
    trees = []
    for name, env in (
        ("a", {"PYTHONHASHSEED": "1", "LC_ALL": "C", "TZ": "UTC"}),
        ("b", {"PYTHONHASHSEED": "2", "LC_ALL": "de_DE.UTF-8", "TZ": "Asia/Tokyo"}),
    ):
        here = tmp_path / name
        here.mkdir()
        (here / "balance.yaml").write_text(samples.TWO)
        assert call("--out", "etc", cwd=here, **env).returncode == 0
        trees.append(
            {
                path.relative_to(here): path.read_bytes()
                for path in sorted(here.rglob("*"))
                if path.is_file() and not path.is_symlink()
            }
        )
    assert trees[0] == trees[1]


@pytest.mark.parametrize("module", ["nib.monitor.daemon", "nib.operator", "nib.status"])
def test_the_monitor_knows_no_yaml(module: str) -> None:
    program = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=private.environment(),
    )
    assert not {"yaml", "jsonschema", "jinja2"} & set(done.stdout.split())


def test_json_is_read_as_well(tmp_path: Path) -> None:
    uplinks = {"cable": {"device": "wan1", "address": "dhcp", "weight": 3}}
    file = tmp_path / "balance.json"
    file.write_text(json.dumps({"uplinks": uplinks}))
    done = call(file, "--show", "--json")
    assert plans.from_json(done.stdout).uplinks[0].weight == 3
    file.write_text(json.dumps({"uplinks": {"cable": {**uplinks["cable"], "weigth": 1}}}, indent=2))
    done = call(file, "--check")
    assert done.returncode == 2
    assert f"{file}:7:7: " in done.stderr and "did you mean" not in done.stderr


def test_the_manifest_is_what_is_written(tmp_path: Path) -> None:
    done = call(HOME, "--manifest", cwd=tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])
    call(HOME, "--out", tmp_path)
    found = [
        {"path": str(path.relative_to(tmp_path)), "kind": "link", "target": str(path.readlink())}
        if path.is_symlink()
        else {
            "path": str(path.relative_to(tmp_path)),
            "kind": "file",
            "mode": f"{path.stat().st_mode & 0o7777:04o}",
        }
        for path in sorted(tmp_path.rglob("*"))
        if path.is_symlink() or path.is_file()
    ]
    assert json.loads(done.stdout) == found


@pytest.mark.parametrize("systemd", [252, 257])
def test_programs_and_files_elsewhere(tmp_path: Path, systemd: int) -> None:
    """Nothing is left of the paths of Debian, and nothing else changes."""
    store = {
        "nft": "/store/1-nftables/bin/nft",
        "ip": "/store/2-iproute2/bin/ip",
        "nib-monitor": "/store/3-nib/bin/nib-monitor",
        "nib-notify": "/store/3-nib/bin/nib-notify",
        "nib-history": "/store/3-nib/bin/nib-history",
        "nib-metrics": "/store/3-nib/bin/nib-metrics",
        "nib-mail": "/store/3-nib/bin/nib-mail",
        "sendmail": "/store/6-mail/bin/sendmail",
        **({"setpriv": "/store/7-util-linux/bin/setpriv"} if systemd < 257 else {}),
        "systemd-sysusers": "/store/4-systemd/bin/systemd-sysusers",
        "systemd-networkd-wait-online": "/store/4-systemd/lib/systemd-networkd-wait-online",
    }
    given = [word for name, path in store.items() for word in ("--program", f"{name}={path}")]
    text = HOME.read_text() + "notify: {mail: root}\nmetrics: {}\n"
    (tmp_path / "balance.yaml").write_text(text)
    where = ("--out", tmp_path, "--etc", "/store/5-etc", "--systemd", systemd)
    done = call(tmp_path / "balance.yaml", *where, *given)
    assert done.returncode == 0
    ours = render(samples.plan(text), systemd)
    commands, named = [], set()
    for path, kept in ours.items():
        if not isinstance(kept, str):
            continue
        text = (tmp_path / path).read_text()
        commands += re.findall(r"^(?:Exec\w+=[-+!]?|include \")([^ \"\n]+)", text, re.MULTILINE)
        named |= set(re.findall(r"/store/[^ \"\n]+", text))
        for name, there in sorted(store.items(), key=lambda item: -len(item[1])):
            text = text.replace(there, getattr(DEBIAN, name.replace("-", "_")))
        assert text.replace("/store/5-etc", "/etc") == kept, path
    assert {
        command for command in commands if not command.startswith(("/store/", "/run/"))
    } == set()
    assert set(store.values()) <= named

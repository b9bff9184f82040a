"""nix/: the NixOS module, evaluated and built by the Nix of this machine.

Without nixpkgs, which no registry has: tests/nix/ holds a small `lib`, a package set of the host's
own tools, and the options of NixOS that the module touches.  The kept answers in tests/nix/golden
are also what real NixOS modules gave.  With NIB_NIXPKGS_LIB all runs with the `lib` of nixpkgs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import private

ROOT = Path(__file__).parent.parent
HERE = ROOT / "tests/nix"
GOLDEN = HERE / "golden"
LIB = os.environ.get("NIB_NIXPKGS_LIB", str(HERE / "minilib.nix"))
CASES = sorted(path.stem for path in (HERE / "cases").glob("*.nix"))
GOOD = [name for name in CASES if not name.startswith(("bad-", "build-"))]

CONF = """\
build-users-group =
sandbox = false
substituters =
allow-import-from-derivation = false
"""


class Nix:
    """A store, a state and a configuration of its own; nothing of the machine's is used."""

    def __init__(self, base: Path) -> None:
        self.store = base / "store"
        folders = {name: str(base / name.lower()) for name in ("STORE", "STATE", "LOG", "CONF")}
        (base / "conf").mkdir()
        (base / "conf/nix.conf").write_text(CONF)
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("NIX_")},
            **{f"NIX_{name}_DIR": folder for name, folder in folders.items()},
            "HOME": str(base),
            "NIX_PATH": "",
        }

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, arguments)),
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def must(self, *arguments: object) -> str:
        done = self.run(*arguments)
        assert not done.returncode, done.stderr
        return done.stdout

    def evaluate(self, case: str, what: str) -> subprocess.CompletedProcess[str]:
        evaluate = ("nix-instantiate", "--eval", "--strict", "--json")
        return self.run(*evaluate, *_arguments(case), "-A", what)

    def value(self, case: str, what: str) -> Any:
        done = self.evaluate(case, what)
        assert not done.returncode, done.stderr
        return json.loads(done.stdout)

    def build(self, case: str, what: str, *more: str) -> subprocess.CompletedProcess[str]:
        return self.run("nix-build", "--no-out-link", *_arguments(case), "-A", what, *more)

    def built(self, case: str, what: str, *more: str) -> Path:
        done = self.build(case, what, *more)
        assert not done.returncode, done.stderr
        return Path(done.stdout.strip())


def _arguments(case: str) -> tuple[object, ...]:
    given = ("--argstr", "case", case, "--argstr", "python", sys.executable)
    return (HERE / "eval.nix", "--arg", "libPath", LIB, *given)


@pytest.fixture(scope="module")
def nix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nix]:
    if shutil.which("nix-instantiate") is None:
        if os.environ.get("CI"):
            pytest.fail("there is no nix-instantiate: install Debian's nix-bin")
        pytest.skip("there is no nix-instantiate: install Debian's nix-bin")
    base = tmp_path_factory.mktemp("nix")
    yield Nix(base)
    # a store is read-only, and pytest is to remove it
    subprocess.run(["chmod", "-R", "u+w", base], check=True)


FILES = sorted([ROOT / "flake.nix", *(ROOT / "nix").glob("*.nix"), *HERE.rglob("*.nix")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_parses(nix: Nix, path: Path) -> None:
    nix.must("nix-instantiate", "--parse", path)


# -- evaluation ------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", GOOD)
def test_golden(nix: Nix, case: str, update_golden: bool) -> None:
    found = {what: nix.value(case, what) for what in ("assertions", "summary")}
    kept = GOLDEN / f"{case}.json"
    if update_golden:
        kept.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert json.loads(kept.read_text()) == found


def test_no_golden_without_a_case() -> None:
    assert sorted(path.stem for path in GOLDEN.iterdir()) == GOOD


def test_evaluation_builds_nothing(nix: Nix, tmp_path: Path) -> None:
    fresh = Nix(tmp_path)
    fresh.value("nftables", "summary")
    fresh.must("nix-instantiate", *_arguments("nftables"), "-A", "rendered")
    names = {path.name.partition("-")[2] for path in fresh.store.iterdir()}
    assert "nib-rendered.drv" in names
    assert not {"nib-rendered", "nib", "balance.json"} & names


@pytest.mark.parametrize(
    "case, error",
    [
        ("bad-conflict", r"uplinks\.cable\.device. has conflicting definition values"),
        ("bad-enum", r"settings\.mode. is not of type"),
        ("bad-missing-device", r"uplinks\.dsl\.device. (is used|was accessed) but"),
        ("bad-no-uplinks", r"settings\.uplinks. (is used|was accessed) but"),
        ("bad-option", r"services\.nib\.setings. does not exist"),
        ("bad-range", r"weight. is not of type .*integer between 0 and 256"),
        ("bad-readonly", r"services\.nib\.configFile. is read-only"),
        ("bad-type", r"lans\.home\.device. is not of type .string"),
    ],
)
def test_is_refused(nix: Nix, case: str, error: str) -> None:
    done = nix.evaluate(case, "summary")
    assert done.returncode
    assert re.search(error, done.stderr), done.stderr


def test_every_key_of_the_schema_is_an_option(nix: Nix) -> None:
    """By an eye of its own on the schema: description, whether it is required, and its default."""
    found = json.loads(
        nix.must("nix-instantiate", "--eval", "--strict", "--json", HERE / "described.nix")
    )
    schema = json.loads((ROOT / "gen/nib/schema.json").read_text())

    def resolved(part: dict[str, Any]) -> dict[str, Any]:
        name = part.get("$ref", "").removeprefix("#/$defs/")
        return {**schema["$defs"][name], **part} if name else part

    def submodules(kind: object) -> Iterator[dict[str, Any]]:
        """The maps with keys of their own that a type leads to."""
        match kind:
            case {"options": options}:
                yield options
            case {"nullOr": inner} | {"listOf": inner} | {"attrsOf": inner}:
                yield from submodules(inner)
            case {"oneOf": inners}:
                for inner in inners:
                    yield from submodules(inner)

    def compare(part: dict[str, Any], options: dict[str, Any], path: str) -> int:
        assert set(part["properties"]) == set(options), path
        for key, unresolved in part["properties"].items():
            inner, option, here = resolved(unresolved), options[key], f"{path}.{key}"
            assert option["description"] == inner["description"], here
            assert ("default" in option) is (key not in part.get("required", ())), here
            if "default" in inner:
                assert json.loads(option["defaultText"]) == inner["default"], here
            parts = [
                resolved(p) for p in (inner.get("items"), inner.get("additionalProperties")) if p
            ]
            parts = [p for p in (inner, *parts) if "properties" in p]
            below = list(submodules(option["type"]))
            assert len(parts) == len(below), here
            for p, o in zip(parts, below, strict=True):
                compare(p, o, here)
        return len(options)

    assert compare(schema, found, "settings") > 5


# -- builds ----------------------------------------------------------------------------------------


def files(folder: Path) -> dict[str, str]:
    """Paths and what is there; a link by its target."""
    return {
        str(path.relative_to(folder)): f"-> {path.readlink()}"
        if path.is_symlink()
        else path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def test_builds_what_the_command_writes(nix: Nix, tmp_path: Path) -> None:
    etc = nix.built("nftables", "rendered") / "etc"
    config = nix.built("nftables", "configFile")
    programs = {}
    for unit in (etc / "systemd/system").rglob("*.*"):
        if unit.is_file():
            for path in re.findall(r"Exec\w+=-?(/\S+)", unit.read_text()):
                programs[Path(path).name] = path
    units = {
        "nib-monitor",
        "nib-notify",
        "nib-history",
        "nib-metrics",
        "systemd-sysusers",
        "systemd-networkd-wait-online",
    }
    assert set(programs) == {"nft", "ip", *units}
    assert all(path.startswith(str(nix.store)) for path in programs.values())
    given = " ".join(f"--program {name}={path}" for name, path in programs.items())
    done = private.run(
        f"{private.python('nib-gen')} $1 --out $2 --etc $3 --systemd 257 {given}",
        *(config, tmp_path, etc),
        mounts=True,
    )
    assert not done.returncode, done.stderr
    built = files(etc)
    fragments = [path for path in built if path.startswith("nib/nft.d/")]
    assert fragments == ["nib/nft.d/10-printer.nft", "nib/nft.d/20-guests.nft"]
    assert files(tmp_path) == {path: text for path, text in built.items() if path not in fragments}


def test_a_hook_is_a_program_that_runs(nix: Nix, tmp_path: Path) -> None:
    hook = nix.built("nftables", "hook")
    told = {"NIB_UPLINK": "dsl", "NIB_REASON": "no carrier", "STATE_DIRECTORY": str(tmp_path)}
    subprocess.run([hook], env=told, check=True)
    assert (tmp_path / "last").read_text() == "dsl: no carrier\n"


def test_a_hook_that_is_no_script_stops_the_build(nix: Nix) -> None:
    done = nix.build("build-bad-hook", "hook")
    assert done.returncode
    assert "syntax error" in done.stderr, done.stderr


def test_a_build_is_reproducible(nix: Nix) -> None:
    nix.built("three-uplinks", "rendered")
    nix.built("three-uplinks", "rendered", "--check")


@pytest.mark.parametrize("case", [case for case in GOOD if case != "disabled"])
def test_what_is_linked_is_there(nix: Nix, case: str) -> None:
    """Also: every case is one that nib-gen accepts and that nft loads."""
    out = nix.built(case, "rendered")
    for path, source in nix.value(case, "summary")["etc"].items():
        if path.startswith("nib/hooks/"):
            continue
        assert (out / source.partition("-nib-rendered/")[2]).is_file(), source


def test_only_what_was_said_is_in_the_file(nix: Nix) -> None:
    """Defaults are nib-gen's: an option that was not set is not written."""
    said = json.loads(nix.built("firewall-off", "configFile").read_text())
    assert said == {
        "firewall": "off",
        "lans": {"home": {"address": "192.168.10.1/24", "device": "lan1"}},
        "uplinks": {"cable": {"address": "dhcp", "device": "wan1"}},
    }


def test_the_unit_of_nixos_keeps_what_nibs_own_says(nix: Nix) -> None:
    """It is written anew for another order at boot; all of [Service] is to be the same."""
    unit = (
        nix.built("nftables", "rendered") / "etc/systemd/system/nib-nftables.service"
    ).read_text()
    service = unit.partition("[Service]\n")[2].partition("\n[")[0]
    own: dict[str, list[str]] = {}
    for key, value in re.findall(r"^(\w+)=(.*)$", service, re.MULTILINE):
        own.setdefault(key, []).append(re.sub(r"/\S*/[0-9a-z]{32}-", "/HASH-", value))
    summary = nix.value("nftables", "summary")["services"]["nib-nftables"]["serviceConfig"]
    theirs = {key: "yes" if value is True else value for key, value in summary.items()}
    assert {k: v if isinstance(v, list) else [v] for k, v in theirs.items()} == own


@pytest.mark.parametrize(
    "case, error",
    [
        ("build-unknown-key", "balance.json:6:7: uplinks.cable: unknown key 'wieght'"),
        ("build-unknown-key", "hint: did you mean 'weight'?"),
        ("build-dangling", "no uplink or lan is called 'home'"),
        ("build-bad-fragment", "mine.nft:1:19-27: Error: No such file or directory"),
        ("build-bad-fragment", "nft refuses the table"),
        ("build-drift", "nib-gen wrote other files than nix/module.nix expects"),
    ],
)
def test_a_mistake_stops_the_build(nix: Nix, case: str, error: str) -> None:
    private.run("nft list tables", network=True)  # skips, or fails, where nothing can be tried out
    done = nix.build(case, "rendered")
    assert done.returncode
    assert error in done.stderr, done.stderr


def test_nft_loads_the_table_with_the_fragments(nix: Nix) -> None:
    nib = nix.built("nftables", "rendered") / "etc/nib"
    done = private.run(
        'nft -f "$1"; nft -f "$1"; nft list table inet nib; nft -f "$2"; nft list tables',
        *(nib / "nib.nft", nib / "stopped.nft"),
        network=True,
    )
    assert not done.returncode, done.stderr
    assert done.stdout.count('iifname "lan1" ip daddr 192.168.10.9 drop') == 1
    assert done.stdout.count("ip saddr 192.168.10.40 goto new_dsl") == 1
    assert done.stdout.endswith("table inet nib_stopped\n")


def test_for_another_machine_the_building_one_renders(nix: Nix) -> None:
    """The files name the programs of the router; nib-gen and nft run where it is built."""
    out = nix.built("iptables", "rendered", "--arg", "cross", "true")
    units = "".join(path.read_text() for path in (out / "etc/systemd/system").glob("*.service"))
    assert "-nib/bin/nib-monitor" in units and "-nftables/bin/nft" in units
    assert "for-building" not in units
    derivation = nix.must(
        "nix-instantiate", *_arguments("iptables"), "-A", "rendered", "--arg", "cross", "true"
    ).strip()
    needs = nix.must("nix-store", "--query", "--requisites", derivation)
    assert "-nib-for-building.drv" in needs and "-nftables-for-building.drv" in needs

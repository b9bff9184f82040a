"""What people install: sdist and wheel, built and installed for real, used outside the checkout."""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAMS = (
    "nib",
    "nib-gen",
    "nib-monitor",
    "nib-notify",
    "nib-history",
    "nib-metrics",
    "nib-mail",
)


def run(*arguments: object, cwd: Path) -> str:
    """A command without any trace of the checkout in its environment."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL"))
    }
    done = subprocess.run(
        list(map(str, arguments)),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True, slots=True)
class Built:
    """`direct` is the wheel of the checkout, `wheel` that of the sdist."""

    sdist: Path
    wheel: Path
    direct: Path


def hatch(source: Path, target: str, out: Path) -> Path:
    """What `python -m build` runs, without a virtual environment for each."""
    hook = {"wheel": "build_wheel", "sdist": "build_sdist"}[target]
    out.mkdir(parents=True, exist_ok=True)
    program = f"import sys; from hatchling.build import {hook}; print({hook}(sys.argv[1]))"
    return out / run(sys.executable, "-c", program, out, cwd=source).split()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    sdist = hatch(ROOT, "sdist", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    return Built(
        sdist, hatch(source, "wheel", folder / "wheel"), hatch(ROOT, "wheel", folder / "direct")
    )


def test_the_wheel_of_the_sdist_is_the_same(built: Built) -> None:
    assert built.wheel.read_bytes() == built.direct.read_bytes()


def test_the_wheel_holds_nib_alone(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as archive:
        names = archive.namelist()
    (info,) = {name.partition("/")[0] for name in names} - {"nib"}
    assert info.startswith("nib-") and info.endswith(".dist-info")
    templates = {f"nib/{path.relative_to(ROOT)}" for path in (ROOT / "templates").rglob("*.j2")}
    assert templates <= set(names)
    assert "nib/schema.json" in names


def test_the_sdist_holds_the_real_templates(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("templates/nftables/nib.nft.j2", "examples/home.yaml", "tests/test_packaging.py"):
        assert name in names


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_an_installation_works(kind: str, built: Built, tmp_path: Path) -> None:
    """In a fresh virtual environment; what nib depends on is that of this one."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    what = [built.wheel] if kind == "wheel" else ["--no-build-isolation", "-e", ROOT]
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path)
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (Path(site.strip()) / "borrowed.pth").write_text("\n".join(ours) + "\n")
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", *what, cwd=tmp_path)

    for program in PROGRAMS:
        assert program in run(tmp_path / "venv/bin" / program, "--help", cwd=tmp_path)
    gen = tmp_path / "venv/bin/nib-gen"
    assert '"uplinks"' in run(gen, "--schema", cwd=tmp_path)
    run(gen, ROOT / "examples/home.yaml", "--out", tmp_path / "etc", cwd=tmp_path)
    assert (tmp_path / "etc/nib/nib.nft").exists()
    where = run(python, "-c", "import nib; print(nib.__file__)", cwd=tmp_path)
    assert where.startswith(str(ROOT / "gen") if kind == "editable" else site.strip())
    for name in ("gen", "templates", "tests"):
        program = f"import importlib.util as u; assert not u.find_spec({name!r})"
        run(python, "-c", program, cwd=tmp_path)

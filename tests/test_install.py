"""Writing: only nib's own, only what changed, all or nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import private
import samples
from nib.changes import Kind, compare, differing, inverse, summary, unified
from nib.host import Refused, Wrong
from nib.install import write
from nib.render import FIRST_LINE, Files, Link, render

ONE = "uplinks: {cable: {device: wan1, address: dhcp}}\n"
CABLE = "systemd/network/05-nib-cable.network"


def install(files: Files, out: Path) -> str:
    changes = compare(files, out)
    write(changes, out)
    return summary(changes, out)


def tree(out: Path) -> dict[str, str | Link]:
    """Everything below `out`: text of files, targets of links."""
    return {
        str(path.relative_to(out)): Link(str(path.readlink()))
        if path.is_symlink()
        else path.read_text()
        for path in sorted(out.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


@pytest.fixture
def strict_umask() -> Iterator[None]:
    """As a careful administrator's shell has it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("strict_umask")
def test_writes_exactly_the_files(tmp_path: Path) -> None:
    install(samples.files(), tmp_path / "deep" / "etc")
    assert tree(tmp_path / "deep" / "etc") == samples.files()
    for path in (tmp_path / "deep").rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644)


def test_the_same_again_touches_nothing(tmp_path: Path) -> None:
    install(samples.files(), tmp_path)

    def stamps() -> dict[Path, tuple[int, int]]:
        found = {path: path.lstat() for path in tmp_path.rglob("*")}
        return {path: (stat.st_ino, stat.st_ctime_ns) for path, stat in found.items()}

    before = stamps()
    said = install(samples.files(), tmp_path)
    assert stamps() == before
    assert said == f"{len(samples.files())} unchanged in {tmp_path}\n"


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    install(samples.files(), tmp_path)
    before = {path: (tmp_path / path).lstat().st_mtime_ns for path in samples.files()}
    changed = samples.TWO.replace("weight: 3", "weight: 7")
    install(samples.files(changed), tmp_path)
    after = {path: (tmp_path / path).lstat().st_mtime_ns for path in samples.files()}
    assert {path for path in before if before[path] != after[path]} == {
        "nib/nib.nft",
        "nib/plan.json",
    }


def test_prunes_its_own_and_nothing_else(tmp_path: Path) -> None:
    others = {
        "systemd/network/05-nib-mine.network": "[Match]\nName=eth7\n",
        "systemd/network/10-vpn.network": f"{FIRST_LINE} not quite\n",
        "systemd/system/nib-extra.service": "[Service]\nExecStart=true\n",
        "nib/nft.d/local.nft": FIRST_LINE + "\n",
        "nib/balance.yaml": samples.TWO,
        "hosts": "127.0.0.1 localhost\n",
    }
    for path, text in others.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    install(samples.files(), tmp_path)
    said = install(samples.files(ONE), tmp_path)
    assert tree(tmp_path) == {**samples.files(ONE), **others}
    assert f"removed {tmp_path}/systemd/network/05-nib-dsl.network\n" in said


def test_prunes_links_by_what_they_point_to(tmp_path: Path) -> None:
    files = dict(samples.files(ONE))
    wants = tmp_path / "systemd/system/multi-user.target.wants"
    install({**files, "systemd/system/nib-old.service": FIRST_LINE + "\n"}, tmp_path)
    (wants / "nib-old.service").symlink_to("../nib-old.service")
    (wants / "nib-other.service").symlink_to("/opt/other.service")
    install(files, tmp_path)
    assert sorted(path.name for path in wants.iterdir()) == [
        "nib-history.service",
        "nib-monitor.service",
        "nib-notify.service",
        "nib-other.service",
    ]


def test_takes_over_the_link_of_systemctl_enable(tmp_path: Path) -> None:
    link = "systemd/system/multi-user.target.wants/nib-monitor.service"
    (tmp_path / link).parent.mkdir(parents=True)
    (tmp_path / link).symlink_to("/etc/systemd/system/nib-monitor.service")
    install(samples.files(ONE), tmp_path)
    assert tree(tmp_path) == samples.files(ONE)


@pytest.mark.parametrize("path", [path for path in samples.files() if "/05-nib" in f"/{path}"])
def test_a_file_in_the_way_is_named(path: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text("# mine\n")
    with pytest.raises(Wrong, match="somebody else's") as caught:
        compare(samples.files(), tmp_path)
    assert str(tmp_path / path) in str(caught.value)


def test_everything_in_the_way_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "nib").mkdir()
    (tmp_path / "nib/plan.json").write_text('{"generated_by": "something else"}')
    (tmp_path / "nib/nib.nft").mkdir()
    os.mkfifo(tmp_path / "nib/stopped.nft")
    (tmp_path / "sysctl.d").symlink_to("/nowhere")
    (tmp_path / "systemd").write_text("")
    with pytest.raises(Wrong) as caught:
        compare(samples.files(ONE), tmp_path)
    for part in ("plan.json", "nib.nft", "stopped.nft", "sysctl.d", "05-nib-cable.network"):
        assert f"{part} " in str(caught.value)
    assert [path.name for path in tmp_path.rglob("05-*")] == []


def test_a_masked_unit_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "systemd/system").mkdir(parents=True)
    (tmp_path / "systemd/system/nib-monitor.service").symlink_to("/dev/null")
    with pytest.raises(Wrong, match=r"is a link to /dev/null"):
        compare(samples.files(ONE), tmp_path)


ADOPTED = samples.TWO.replace("ipv6: off", "network: 10-mine.network, ipv6: off")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[Match]\nName=wan1\n[Network]\nDHCP=yes\n[Link]\nMTUBytes=1400\n", None),
        ("[Match]\nMACAddress=52:54:00:12:34:56\n[Network]\nDHCP=yes\n", None),
        ("[Match]\nName=wan1\n[Route]\nGateway=192.0.2.9\nDestination=10.0.0.0/8\n", None),
        ("[Match]\nName=wan1\n[Route]\nGateway=192.0.2.9\nTable=9\n", None),
        ("[Match]\nName=eth0\n[Network]\nDHCP=yes\n", "is not for wan1"),
        # nib's own file for wan2 comes first
        ("[Match]\nName=wan*\n[Network]\nDHCP=yes\n", None),
        ("[Match]\nName=wan1\n[Network]\nGateway=192.0.2.9\n", "the default route by 192.0.2.9"),
        ("[Match]\nName=wan1\n[Route]\nGateway=_dhcp4\n", "the default route by _dhcp4"),
        ("[Match]\nName=wan1\n[DHCPv4]\nRouteTable=7\n", "has RouteTable= in [DHCPv4]"),
    ],
)
def test_what_is_added_must_go_with_the_file(text: str, why: str | None, tmp_path: Path) -> None:
    plan = samples.plan(ADOPTED)
    path = tmp_path / "systemd/network/10-mine.network"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    if why:
        with pytest.raises(Wrong) as caught:
            compare(render(plan), tmp_path, plan.adopted)
        assert f"{path} " in str(caught.value)
        assert why in str(caught.value)
        return
    write(compare(render(plan), tmp_path, plan.adopted), tmp_path)
    dropin = path.with_name("10-mine.network.d") / "05-nib.conf"
    assert "[Match]" not in dropin.read_text()
    assert not path.with_name("05-nib-cable.network").exists()
    # and back: nothing of nib's is left there
    own = samples.plan(samples.TWO)
    path.unlink()
    write(compare(render(own), tmp_path, own.adopted), tmp_path)
    assert not dropin.parent.exists()


def test_there_must_be_a_file_to_add_to(tmp_path: Path) -> None:
    """In a folder that is part of a system; in any other one nobody knows."""
    plan = samples.plan(ADOPTED)
    etc = tmp_path / "etc"
    compare(render(plan), etc, plan.adopted)
    library = tmp_path / "usr/lib/systemd/libsystemd-shared-252.so"
    library.parent.mkdir(parents=True)
    library.write_text("")
    with pytest.raises(Wrong, match=r"there is no .*10-mine\.network, which should configure wan1"):
        compare(render(plan), etc, plan.adopted)
    made = tmp_path / "run/systemd/network/10-mine.network"
    made.parent.mkdir(parents=True)
    made.write_text("")
    compare(render(plan), etc, plan.adopted)


@pytest.mark.parametrize(
    ("name", "text", "claims"),
    [
        ("00-all.network", "[Match]\nName=*\n", "wan1"),
        ("00-all.network", "[Match]\nName=eth* wan[0-9]\n", "wan1"),
        ("00-all.network", "[Match]\n\nName=!lo\n", "wan1"),
        ("00-all.network", "[Match]\n", "matches all"),
        ("05-a.network", "[Match]\nName=eth0\nName=wan1\n", "wan1"),
        ("99-mine.network", "[Match]\nName=wan1\n", "wan1"),
        ("99-mine.network", "# comment\n[Match]\nName = eth0 \\\n  lan1\n", "lan1"),
        ("10-lo.network", "[Match]\nName=lo\n", "lo"),
        ("00-all.network", "[Match]\nName=!wan1 wan2 lan1 lo\n", None),
        ("00-all.network", "[Match]\nName=eth*\n", None),
        ("00-all.network", "[Match]\nName=wan1\nName=\nName=eth0\n", None),
        ("00-all.network", "[Match]\nMACAddress=52:54:00:12:34:56\n", None),
        ("00-all.network", "[Network]\nDHCP=yes\n", None),
        ("00-empty.network", "", None),
        ("99-all.network", "[Match]\nName=*\n", None),
        ("00-all.netdev", "[Match]\nName=*\n", None),
    ],
)
def test_who_claims_a_device(name: str, text: str, claims: str | None, tmp_path: Path) -> None:
    path = tmp_path / "systemd/network" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    if claims is None:
        compare(samples.files(), tmp_path)
        return
    with pytest.raises(Wrong) as caught:
        compare(samples.files(), tmp_path)
    assert f"{path} " in str(caught.value)
    assert claims in str(caught.value)


def test_a_masked_network_file_claims_nothing(tmp_path: Path) -> None:
    path = tmp_path / "systemd/network/00-all.network"
    path.parent.mkdir(parents=True)
    path.symlink_to("/dev/null")
    compare(samples.files(), tmp_path)


def test_the_inverse_restores(tmp_path: Path) -> None:
    install(samples.files(), tmp_path)
    changes = compare(samples.files(ONE), tmp_path)
    write(changes, tmp_path)
    write(inverse(changes), tmp_path)
    assert tree(tmp_path) == samples.files()


def test_the_difference_is_a_patch(tmp_path: Path) -> None:
    install(samples.files(), tmp_path)
    (tmp_path / CABLE).write_text(FIRST_LINE + "\nno end of line")
    changes = compare(samples.files(ONE), tmp_path)
    kinds = {change.path: change.kind for change in changes}
    assert kinds["systemd/network/05-nib-dsl.network"] is Kind.PRUNE
    assert kinds[CABLE] is Kind.CHANGE
    diff = unified(changes, tmp_path)
    assert "-no end of line\n\\ No newline at end of file\n" in diff
    done = private.run('patch -s -p0 -d / -i "$1"', _save(tmp_path / "diff", diff))
    assert not done.returncode, done.stdout + done.stderr
    assert not differing(compare(samples.files(ONE), tmp_path))


def _save(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    install(samples.files(), tmp_path)
    for suffix in (".nib-new", ".nib-old"):
        (tmp_path / f"systemd/network/.05-nib-cable.network{suffix}").write_text("half")
    changed = samples.TWO.replace("device: wan1", "device: wan9")
    install(samples.files(changed), tmp_path)
    assert tree(tmp_path) == samples.files(changed)


# -- when the host says no -------------------------------------------------------------------------


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """Every size of a tiny file system, from no room at all to enough."""
    (tmp_path / "two.yaml").write_text(samples.TWO)
    (tmp_path / "one.yaml").write_text(ONE)
    done = private.run(
        f"""
        gen='{private.python("nib-gen")}'
        mkdir "$1/etc"
        full=0 fine=0
        for kib in 4 24 36 48 60 64 68 72 76 80 84 88 92 96 100 104 112 128 256; do
            mount -t tmpfs -o size=${{kib}}k tmpfs "$1/etc"
            eval "$gen" "$1/one.yaml" --out "$1/etc" >/dev/null 2>&1 || true
            (cd "$1/etc" && find . -type f -exec sha256sum {{}} + -o -print | sort) >"$1/before"
            status=0
            eval "$gen" "$1/two.yaml" --out "$1/etc" >/dev/null 2>"$1/said" || status=$?
            (cd "$1/etc" && find . -type f -exec sha256sum {{}} + -o -print | sort) >"$1/after"
            case $status in
            0)  fine=$((fine + 1)) ;;
            3)  full=$((full + 1))
                grep -q 'no space left on device; nothing was changed' "$1/said"
                cmp "$1/before" "$1/after" ;;
            *)  cat "$1/said"; exit 1 ;;
            esac
            umount "$1/etc"
        done
        echo "$full $fine"
        """,
        tmp_path,
        mounts=True,
    )
    assert not done.returncode, done.stdout + done.stderr
    full, fine = map(int, done.stdout.split())
    assert full and fine


def test_a_file_system_that_is_read_only(tmp_path: Path) -> None:
    (tmp_path / "balance.yaml").write_text(samples.TWO)
    done = private.run(
        f"""
        mkdir "$1/etc"
        mount -t tmpfs -o ro tmpfs "$1/etc"
        {private.python("nib-gen")} "$1/balance.yaml" --out "$1/etc"
        """,
        tmp_path,
        mounts=True,
    )
    assert done.returncode == 3
    assert "read-only file system; nothing was changed" in done.stderr


def test_a_failure_in_the_middle_puts_everything_back(tmp_path: Path) -> None:
    """One path cannot be replaced because something is mounted on it: the rest returns."""
    install(samples.files(), tmp_path / "etc")
    (tmp_path / "one.yaml").write_text(ONE)
    done = private.run(
        f"""
        dates() {{ (cd "$1/etc" && find . -type f -printf '%p %T@ %i %s\\n' | sort); }}
        mount --bind "$1/etc/systemd/network/05-nib-lo.network" \\
            "$1/etc/systemd/network/05-nib-lo.network"
        dates "$1" >"$1/before"
        status=0
        {private.python("nib-gen")} "$1/one.yaml" --out "$1/etc" || status=$?
        dates "$1" >"$1/after"
        cmp "$1/before" "$1/after"
        exit $status
        """,
        tmp_path,
        mounts=True,
    )
    assert done.returncode == 3, done.stderr
    assert "05-nib-lo.network: " in done.stderr
    assert "nothing was changed" in done.stderr
    assert tree(tmp_path / "etc") == samples.files()


def test_out_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    for out in ("file", "file/etc", "loop", "loop/etc", "dangling", "x" * 300):
        with pytest.raises(Wrong, match="--out"):
            compare(samples.files(ONE), tmp_path / out)


def test_out_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "link").symlink_to("etc")
    install(samples.files(ONE), tmp_path / "link")
    assert tree(tmp_path / "etc") == samples.files(ONE)


def test_a_missing_parent_that_cannot_be_made() -> None:
    with pytest.raises(Refused, match=r"cannot write /proc/nib: .*nothing was changed"):
        write(compare(samples.files(ONE), Path("/proc/nib/etc")), Path("/proc/nib/etc"))

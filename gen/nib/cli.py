"""nib-gen, the compiler: balance.yaml in, files out; it needs no root, no network, no router."""

import argparse
import sys
from pathlib import Path

from nib import __version__, host
from nib.host import DIFFERS, FINE, Wrong
from nib.paths import DEBIAN, PROGRAMS, Paths, placed
from nib.plan import Plan
from nib.planner import make_plan

PROGRAM = "nib-gen"

# The Debian 12 one, the oldest that the files are tested with.
OLDEST_SYSTEMD = 252

DESCRIPTION = """\
Compile balance.yaml into the files of a router that balances over several ISPs:
systemd-networkd, one nftables table, sysctl, units and the plan of nib-monitor.
nib-gen only ever writes files below --out DIR; `nib apply` also loads them.
"""

EXAMPLES = """\
examples:
  nib-gen --check                    is ./balance.yaml (or /etc/nib/balance.yaml) right?
  nib-gen --show                     which marks, tables and metrics, how fast is a failover?
  nib-gen home.yaml --out build      write everything below ./build and look at it
  nib-gen --diff --out /etc          what would change on this router?

exit status: 0 fine, 1 --diff found a difference, 2 wrong usage or a rejected FILE,
3 the host refused (a permission, a full disk)
"""


def main() -> int:
    """The command nib-gen; returns its exit status."""
    return host.guard(PROGRAM, lambda: _run(_parser()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="what to compile; - is standard input; "
        "the default is balance.yaml here, else /etc/nib/balance.yaml",
    )
    parser.add_argument("--out", metavar="DIR", help="write below DIR, like /etc")
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check",
        action="store_true",
        help="say all that is wrong and stop; with --out also what is in the way there",
    )
    action.add_argument(
        "--diff", action="store_true", help="show what --out DIR would change, write nothing"
    )
    action.add_argument(
        "--manifest", action="store_true", help="list what would be written, as JSON"
    )
    action.add_argument("--show", action="store_true", help="show the plan as a table")
    action.add_argument(
        "--schema", action="store_true", help="print the JSON Schema of balance.yaml for editors"
    )
    parser.add_argument(
        "--json", action="store_true", help="with --show: plan and guarantees as JSON"
    )
    parser.add_argument(
        "--systemd",
        metavar="VERSION",
        type=int,
        help="the systemd that will read the files; the default is that of the system DIR is part "
        "of, else the newest known",
    )
    parser.add_argument(
        "--etc",
        metavar="PATH",
        default=DEBIAN.etc,
        help="where the files will be when they are used; the default is /etc, whatever DIR is",
    )
    parser.add_argument(
        "--program",
        metavar="NAME=PATH",
        action="append",
        default=[],
        help=f"where the units find a program: {', '.join(PROGRAMS)}; may be repeated",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    return parser


def _run(parser: argparse.ArgumentParser) -> int:
    arguments = parser.parse_args()
    if arguments.json and not arguments.show:
        parser.error("--json belongs to --show")
    if arguments.systemd is not None and arguments.systemd < OLDEST_SYSTEMD:
        parser.error(f"--systemd: nib needs systemd {OLDEST_SYSTEMD} or newer")
    if arguments.diff and arguments.out is None:
        parser.error("--diff compares with a directory: add --out DIR, like --out /etc")
    if arguments.schema:
        if arguments.file or arguments.out:
            parser.error("--schema stands alone")
        sys.stdout.write(Path(__file__).with_name("schema.json").read_text(encoding="utf-8"))
        return FINE
    if (arguments.show or arguments.manifest) and arguments.out:
        action = "--show" if arguments.show else "--manifest"
        parser.error(f"{action} writes nothing: leave out --out")
    try:
        paths = placed(arguments.etc, arguments.program)
    except ValueError as problem:
        parser.error(str(problem))

    name, config = host.load(PROGRAM, arguments.file)
    plan = make_plan(config)
    if arguments.show:
        return _show(plan, as_json=arguments.json)
    if arguments.manifest:
        return _manifest(plan)
    if arguments.out is None:
        hint = "" if arguments.check else "; nothing is written without --out DIR"
        host.say(f"{PROGRAM}: {name} is fine{hint}")
        return FINE
    if not arguments.out or "\0" in arguments.out:
        raise Wrong("--out needs the name of a directory")
    out = Path(arguments.out)
    return _out(
        plan, out, arguments.systemd, paths, check=arguments.check, diff=arguments.diff, name=name
    )


def _show(plan: Plan, *, as_json: bool) -> int:
    from nib.guarantees import to_json  # noqa: PLC0415
    from nib.report import plan_report  # noqa: PLC0415

    sys.stdout.write(to_json(plan) if as_json else plan_report(plan))
    return FINE


def _manifest(plan: Plan) -> int:
    from nib.render import manifest, render  # noqa: PLC0415 - jinja2

    sys.stdout.write(manifest(render(plan)))
    return FINE


def _out(
    plan: Plan,
    out: Path,
    systemd: int | None,
    paths: Paths,
    *,
    check: bool,
    diff: bool,
    name: str,
) -> int:
    # jinja2, which --check and --show do without
    from nib.changes import compare, differing, summary, unified  # noqa: PLC0415
    from nib.install import write  # noqa: PLC0415
    from nib.render import NEWEST_SYSTEMD, render  # noqa: PLC0415

    systemd = systemd or host.systemd_of(out) or NEWEST_SYSTEMD
    changes = compare(render(plan, systemd, paths), out, plan.adopted)
    if check:
        host.say(f"{PROGRAM}: {name} is fine, and nothing is in its way in {out}")
        return FINE
    if diff:
        sys.stdout.write(unified(changes, out))
        return DIFFERS if differing(changes) else FINE
    write(changes, out)
    sys.stdout.write(summary(changes, out))
    return FINE

"""nib, the operator's tool: put balance.yaml to work on this router, and see how it does."""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from nib import __version__, host
from nib.control import Away, ask
from nib.host import DIFFERS, FINE, Refused, Wrong, clock
from nib.oracle.values import PROTOCOLS
from nib.status import STATUS_FILE, from_json
from nib.stream import SOCKET, Command, Ended, Request, Snapshot
from nib.stream import from_json as told_from_json

PROGRAM = "nib"

DESCRIPTION = "Run a router that balances over several ISPs."

EPILOG = """\
exit status: 0 fine, 1 unhealthy (an uplink is down), declined, a hook failed after the change, not
all could be imported, or what is explained gets nowhere, 2 wrong usage or a rejected FILE, 3 the
host refused (no root, a missing tool, nft or networkd said no)
"""

APPLY = """\
Check FILE, show what would change, try the new firewall in a private namespace, write /etc and
load only what changed.  If any step fails, everything is put back as it was.
"""

IMPORT = """\
Translate FILE, the balance.conf of Net-ISP-Balance, and the scripts in the directory balance/
beside it.  Nothing of them is run.  The result goes to standard output or to --out; what could
not be translated is in it as a comment, and is reported.
"""

STATUS = """\
Show what nib-monitor knows about the uplinks: who is up, since when and why, how it performs and
which share of the new connections it gets.
"""

METRICS = """\
Print what nib-monitor knows in the text format of Prometheus.  Needs root or the group nib.
"""

EXPLAIN = """\
Say what becomes of the first packet of a connection: which uplinks it may take and with which
chance, with which source it leaves, or who drops it, and by which line of balance.yaml.  It is
worked out from the plan and from the health of the uplinks; no packet is sent.
"""


WATCH = """\
Show the uplinks, and then every change as it happens, until Ctrl-C; a restart of nib-monitor is
waited for.  Needs root or the group nib.
"""

# Between two tries to reach a monitor that is away.
AGAIN_S = 1.0


def main() -> int:
    """The command nib; returns its exit status."""
    return host.guard(PROGRAM, _run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    apply = commands.add_parser("apply", help="write and load FILE, or change nothing")
    apply.description = APPLY
    apply.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        help="the default is balance.yaml here, else /etc/nib/balance.yaml",
    )
    apply.add_argument("--yes", action="store_true", help="do not ask")
    apply.set_defaults(run=_apply)

    importer = commands.add_parser("import", help="translate Net-ISP-Balance's balance.conf")
    importer.description = IMPORT
    importer.add_argument("file", metavar="FILE", help="like /etc/network/balance.conf")
    importer.add_argument("--out", metavar="FILE", help="write here, where nothing is yet")
    importer.set_defaults(run=_import)

    status = commands.add_parser("status", help="how the uplinks are")
    status.description = STATUS
    status.add_argument("--json", action="store_true", help="all that is known, as JSON")
    watch_help = "a live view, until Ctrl-C; needs root or the group nib"
    status.add_argument("--watch", action="store_true", help=watch_help)
    status.set_defaults(run=_status)

    metrics = commands.add_parser("metrics", help="what Prometheus is to know")
    metrics.description = METRICS
    out_help = "write here, whole or not at all; like a file of node_exporter's textfile collector"
    metrics.add_argument("--out", metavar="FILE", type=Path, help=out_help)
    metrics.set_defaults(run=_metrics)

    explain = commands.add_parser("explain", help="what becomes of a connection, and why")
    explain.description = EXPLAIN
    who = "its source; without it the router itself sends it, from whatever address fits"
    explain.add_argument("--from", metavar="ADDRESS", dest="source", help=who)
    explain.add_argument("--to", metavar="ADDRESS", required=True, help="its destination")
    explain.add_argument("--in", metavar="DEVICE", dest="device", help="where it comes in")
    explain.add_argument("--protocol", choices=PROTOCOLS, default="tcp", help="the default is tcp")
    explain.add_argument("--sport", metavar="PORT", type=int, help="its source port")
    explain.add_argument("--dport", metavar="PORT", type=int, help="its destination port")
    explain.add_argument("--dscp", metavar="CLASS", default="be", help="like ef or 46")
    explain.add_argument("--user", help="whose program on the router sends it")
    explain.add_argument("--json", action="store_true", help="all that is known, as JSON")
    default = "/etc/nib/plan.json"
    explain.add_argument(
        "--plan", metavar="FILE", default=default, help=f"the default is {default}"
    )
    explain.set_defaults(run=_explain)
    watch = commands.add_parser("watch", help="what happens, as it happens")
    watch.description = WATCH
    watch.add_argument("--json", action="store_true", help="the event stream itself")
    watch.set_defaults(run=_watch)
    _add_orders(commands)
    _add_drill(commands)
    _add_history(commands)
    return parser


def _add_history(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from nib.orders import span  # noqa: PLC0415

    history = commands.add_parser("history", help="what outages there were, and why")
    replay = commands.add_parser("replay", help="which there would have been with other settings")
    for parser, run in ((history, _history), (replay, _replay)):
        parser.add_argument("uplink", metavar="UPLINK", nargs="?", help="only this one")
        since_help = "how far back; a number and s, m, h or d; the default is 1d"
        parser.add_argument("--since", metavar="TIME", dest="since_s", type=span, help=since_help)
        parser.add_argument("--json", action="store_true", help="all of it, as JSON")
        parser.set_defaults(run=run, since_s=86400.0)
    report = commands.add_parser("report", help="a month of the uplinks, day by day")
    report.add_argument("--month", metavar="YYYY-MM", help="the default is this one")
    format_help = "md, csv, or html: a page with charts; the default is md"
    report.add_argument("--format", choices=("md", "csv", "html"), default="md", help=format_help)
    report.add_argument("--out", metavar="FILE", help="write here, where nothing is yet")
    report.set_defaults(run=_report)
    set_help = "like probe.fall=5, for all uplinks; more than once if need be"
    replay.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], help=set_help)
    replay.add_argument("--config", metavar="FILE", help="take the settings of this balance.yaml")
    default = "/etc/nib/plan.json"
    replay.add_argument("--plan", metavar="FILE", default=default, help=f"the default is {default}")


def _add_orders(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from nib import orders  # noqa: PLC0415

    down = commands.add_parser("down", help="give an uplink no new connections")
    down.description = orders.DOWN
    down.add_argument("--force", action="store_true", help="even the last one that carries")
    up = commands.add_parser("up", help="give an uplink some, whatever its probes say")
    up.description = orders.UP
    auto = commands.add_parser("auto", help="let its probes decide again")
    auto.description = orders.AUTO
    for name, parser in (("down", down), ("up", up), ("auto", auto)):
        parser.add_argument("uplink", metavar="UPLINK", help="its name in balance.yaml")
        parser.set_defaults(run=_order, do=name, for_s=None, force=False, persist=False)
    for parser in (down, up):
        for_help = "then auto again; a number and s, m, h or d, like 2h"
        parser.add_argument("--for", metavar="TIME", dest="for_s", type=orders.span, help=for_help)
        persist_help = "also after a reboot; without it the boot ends the order"
        parser.add_argument("--persist", action="store_true", help=persist_help)


def _add_drill(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from nib import orders  # noqa: PLC0415
    from nib.drill import DRILL  # noqa: PLC0415

    parser = commands.add_parser("drill", help="cut an uplink off for a while, and measure")
    parser.description = DRILL
    parser.add_argument("uplink", metavar="UPLINK", help="its name in balance.yaml")
    for_help = "how long; a number and s, m or h; the default is 30s"
    parser.add_argument(
        "--for", metavar="TIME", dest="for_s", type=orders.span, default="30s", help=for_help
    )
    family_help = "cut only this one off; without it both"
    parser.add_argument("--family", type=int, choices=(4, 6), help=family_help)
    parser.add_argument("--force", action="store_true", help="even the last one that carries")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="all that was found, as JSON")
    parser.set_defaults(run=_drill, plan="/etc/nib/plan.json")


def _run() -> int:
    arguments = _parser().parse_args()
    status = arguments.run(arguments)
    assert isinstance(status, int)
    return status


def _apply(arguments: argparse.Namespace) -> int:
    from nib.apply import apply, check_host  # noqa: PLC0415 - status does without all of it

    check_host()
    _, config = host.load(PROGRAM, arguments.file)
    return apply(config, yes=arguments.yes)


def _import(arguments: argparse.Namespace) -> int:
    from nib.importer.files import check_new, import_file, write_new  # noqa: PLC0415

    out = arguments.out
    if out is not None:
        check_new(out)
    imported = import_file(PROGRAM, arguments.file)
    if out is None:
        sys.stdout.write(imported.text)
        sys.stdout.flush()
    host.say(imported.report.rstrip())
    if out is not None:
        write_new(out, imported.text)
        host.say(f"{PROGRAM}: wrote {out}")
    host.say(f"{PROGRAM}: {imported.summary()}")
    return FINE if imported.complete else DIFFERS


def _explain(arguments: argparse.Namespace) -> int:
    from nib.explain import explain  # noqa: PLC0415

    return explain(arguments)


def _history(arguments: argparse.Namespace) -> int:
    from nib.history.commands import history  # noqa: PLC0415

    return history(arguments)


def _report(arguments: argparse.Namespace) -> int:
    from nib.history.commands import report  # noqa: PLC0415

    return report(arguments)


def _replay(arguments: argparse.Namespace) -> int:
    from nib.history.commands import replay  # noqa: PLC0415

    return replay(arguments)


def _status(arguments: argparse.Namespace) -> int:
    from nib.status_report import is_down, stale, status_report  # noqa: PLC0415

    if arguments.watch:
        return _status_watch(as_json=arguments.json)
    try:
        text = Path(STATUS_FILE).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise Refused(
            "there is no status: nib-monitor has not run since the boot\n"
            "  see why: systemctl status nib-monitor; start it: systemctl start nib-monitor"
        ) from None
    except PermissionError:
        raise Refused("only root may read the status here: try sudo nib status") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise Refused(f"cannot read {STATUS_FILE}: {problem}") from None
    try:
        status = from_json(text)
    except (ValueError, RecursionError) as problem:
        raise Refused(f"{STATUS_FILE}: {problem}\n  try: systemctl restart nib-monitor") from None
    now_s = time.monotonic()
    sys.stdout.write(text if arguments.json else status_report(status, now_s, clock))
    sys.stdout.flush()
    if warning := stale(status, now_s):
        host.say(f"{PROGRAM}: {warning}")
        return DIFFERS
    return DIFFERS if is_down(status) else FINE


def _status_watch(*, as_json: bool) -> int:
    from nib.live import watch_status  # noqa: PLC0415

    if as_json or not sys.stdout.isatty():
        raise Wrong("--watch is for a terminal; for programs there is nib watch --json")
    return watch_status()


def _metrics(arguments: argparse.Namespace) -> int:
    from nib.live import show_metrics  # noqa: PLC0415

    return show_metrics(arguments.out)


def _order(arguments: argparse.Namespace) -> int:
    from nib.orders import order, who  # noqa: PLC0415

    return order(
        Command(
            arguments.do,
            arguments.uplink,
            for_s=arguments.for_s,
            force=arguments.force,
            persist=arguments.persist,
            who=who(),
        )
    )


def _drill(arguments: argparse.Namespace) -> int:
    from nib.drill.run import drill  # noqa: PLC0415

    return drill(arguments)


def _watch(arguments: argparse.Namespace) -> int:
    heard = False
    while True:
        try:
            for line in _told(as_json=arguments.json):
                heard = True
                sys.stdout.write(line)
                sys.stdout.flush()
        except Away:
            if not heard:
                raise
        else:
            host.say(f"{PROGRAM}: nib-monitor went away; waiting for it")
        time.sleep(AGAIN_S)


def _told(*, as_json: bool) -> Iterator[str]:
    """What to show until the monitor hangs up: its own lines, or those for people."""
    from nib.status_report import status_report  # noqa: PLC0415
    from nib.watch import told_line  # noqa: PLC0415

    greeted = False
    for line in ask(Request("watch")):
        try:
            told = told_from_json(line)
        except (ValueError, RecursionError) as problem:
            raise Refused(f"{SOCKET}: {problem}\n  try: systemctl restart nib-monitor") from None
        if as_json:
            yield line
        elif isinstance(told.item, Snapshot) and not greeted:
            greeted = True
            yield status_report(told.item.status, time.monotonic(), clock)
        else:
            yield told_line(told, clock(time.time() - told.time_s))
        if isinstance(told.item, Ended):
            raise Refused(f"nib-monitor ended this: {told.item.reason}")

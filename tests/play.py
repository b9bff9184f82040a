"""Plays for the monitor's core: a script of happenings, and under each what the core does then.

    1.0 cable .                    enough targets answered; `!`: they were asked enough, and did not
    1.0 cable ipv6 .               the same over IPv6
    1.0 cable reaches its gateway  when it was looked at; also: nobody, a hop, the internet
    1.0 wan1 loses carrier         also: gets carrier, loses address, gets address (ipv6: of it)
    1.0 wan1 has 192.0.2.77        and no other address: a new lease
    1.0 wan1 vanishes              and `appears`, as another device of that name
    1.0 cable gateway 192.0.2.9    the lease names another gateway
    1.0 removed default wan1 main  somebody's `ip route del`; also: `default wan1 own`
    1.0 removed rule 30500
    1.0 left rule 30999            by a monitor that had another plan
    1.0 clock Fri 17:59            what the router's clock shows
    1.0 networkd                   puts its own routes and rules back
    1.0 order down cable for 60    also: up, auto; then force, persist
    1.0 reboot                     of the router: only what was persisted is kept
    1.0 touched                    somebody changed nib's nft table; or `reloaded` it
    1.0 nft refuses                until it accepts; likewise netlink
    1.0 restart                    of the monitor
    1.0 end                        nothing; time passes until then

Between the lines the core is woken whenever it asked for it, and what it does to the kernel shows
up among the facts 20 ms later, as it does in earnest.
"""

import re
from dataclasses import replace

from nib.families import Family
from nib.hours import minute_of_week
from nib.ip_rules import MAIN, Priority, Rule, Table
from nib.monitor import admin, core
from nib.monitor.events import (
    AddDefault,
    AddRule,
    Answer,
    Clock,
    Default,
    Device,
    Effect,
    Event,
    Facts,
    Failed,
    Inquire,
    Inquired,
    Judged,
    Keep,
    LoadState,
    LoadTable,
    Looked,
    NextHop,
    Ordered,
    Poke,
    Poked,
    PresentRule,
    Publish,
    RemoveDefault,
    RemoveRule,
    Say,
    SetBalance,
    TableTouched,
    Watch,
    Woke,
)
from nib.monitor.found import Found
from nib.plan import Plan
from nib.status import Status
from nib.stream import Command

ECHO_S = 0.02
REACHES = {
    "nobody": Found(gateway=False),
    "its gateway": Found(gateway=True),
    "a hop": Found(gateway=True, hop="100.64.0.1"),
    "the internet": Found(gateway=True, internet=True),
}


class Kernel:
    """What `links.look` would find: at first, all that networkd should have put there."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.devices: dict[str, Device] = {}
        self.gateways = {u.name: f"192.0.2.{n}" for n, u in enumerate(plan.uplinks, start=1)}
        self.gateways6 = {u.name: f"fe80::{n}" for n, u in enumerate(plan.uplinks, start=1)}
        self.defaults: list[Default] = []
        self.balance: dict[Family, tuple[NextHop, ...]] = {}
        self.rules: list[PresentRule] = []
        for device in plan.devices:
            self.appears(device)
        self.networkd()

    def facts(self) -> Facts:
        return Facts(
            tuple(sorted(self.devices.values(), key=lambda device: device.index)),
            tuple(self.defaults),
            tuple(self.balance.items()),
            tuple(self.rules),
        )

    def appears(self, name: str) -> None:
        index = max((d.index for d in self.devices.values()), default=1) + 10
        self.devices[name] = Device(name, index, True, True, ())
        self.gets_address(name)

    def vanishes(self, name: str) -> None:
        self.loses_address(name)
        del self.devices[name]

    def gets_address(self, name: str) -> None:
        """The static ones of an uplink; else a lease, and what is announced."""
        number = self.plan.devices.index(name)
        usual: dict[Family, str] = {4: f"192.0.2.1{number}", 6: f"2001:db8:{number}::2"}
        uplink = next((u for u in self.plan.uplinks if u.device == name), None)
        addresses: list[tuple[Family, str]] = []
        for family in uplink.families if uplink else (4,):
            static = uplink.addresses_of(family) if uplink else ()
            addresses += [(family, a.partition("/")[0]) for a in static or (usual[family],)]
        self.devices[name] = replace(self.devices[name], addresses=tuple(addresses))
        self.networkd()

    def leased(self, name: str, addresses: list[str]) -> None:
        found: list[tuple[Family, str]] = [(6 if ":" in a else 4, a) for a in addresses]
        self.devices[name] = replace(self.devices[name], addresses=tuple(sorted(found)))
        self.networkd()

    def loses_ipv6(self, name: str) -> None:
        device = self.devices[name]
        kept = tuple(address for address in device.addresses if address[0] == 4)
        self.devices[name] = replace(device, addresses=kept)
        self.defaults = [d for d in self.defaults if (d.device, d.family) != (name, 6)]

    def loses_address(self, name: str) -> None:
        self.devices[name] = replace(self.devices[name], addresses=())
        self.defaults = [d for d in self.defaults if d.device != name]

    def networkd(self) -> None:
        """Its routes and rules, where the link has an address."""
        for uplink in self.plan.uplinks:
            device = self.devices.get(uplink.device)
            self.defaults = [d for d in self.defaults if d.ours or d.device != uplink.device]
            for family in uplink.families:
                if not device or family not in (of for of, _ in device.addresses):
                    continue
                gateway = (self.gateways if family == 4 else self.gateways6)[uplink.name]
                self.defaults += [
                    Default(family, t, uplink.device, gateway, uplink.metric, False)
                    for t in (uplink.table, MAIN)
                ]
        self.rules = [entry for entry in self.rules if entry.ours]
        self.rules += [PresentRule(rule, ours=False) for rule in self.plan.rules]

    def do(self, effect: Effect) -> bool:
        """Is there something new to see?"""
        match effect:
            case SetBalance(family, ()):
                self.balance.pop(family, None)
            case SetBalance(family, (only,)):
                self.balance[family] = (replace(only, weight=1),)
            case SetBalance(family, hops):
                self.balance[family] = hops
            case AddDefault(default):
                self.defaults = [*(d for d in self.defaults if d != default), default]
            case RemoveDefault(default):
                self.defaults = [d for d in self.defaults if d != default]
            case AddRule(rule):
                own = PresentRule(rule, ours=True)
                self.rules = [*(entry for entry in self.rules if entry != own), own]
            case RemoveRule(rule):
                self.rules = [e for e in self.rules if e != PresentRule(rule, ours=True)]
            case _:
                return False
        return True


class Play:
    """A kernel, the core, and what has been said and done so far."""

    def __init__(self, plan: Plan, before: Status | None = None) -> None:
        self.plan = plan
        self.kernel = Kernel(plan)
        self.now_s = 0.0
        self.queue: list[Event] = []
        self.lines: list[str] = []
        self.done: list[tuple[float, Effect]] = []
        self.refusing: set[str] = set()
        self.minute = 0
        self.published: Status | None = before
        self.kept: admin.Orders = {}
        self._line = ""
        self._begin()

    def _begin(self) -> None:
        self.world = core.begin(self.plan, self.now_s, self.published, self.minute, self.kept)
        self.queue = [Looked(self.now_s, self.kernel.facts())]

    def act(self, script: str) -> str:
        """The lines of the script, each with what was done until the next, indented."""
        written = []
        for line in (line for line in script.splitlines() if line[:1].isdigit()):
            time, _, happening = line.partition(" ")
            self.until(float(time))
            written += [f"    {done}" for done in self.lines]
            self.lines = []
            written.append(line)
            self.happen(happening)
            self.until(self.now_s)
        written += [f"    {done}" for done in self.lines]
        self.lines = []
        return "".join(f"{line}\n" for line in written)

    def until(self, at_s: float) -> None:
        """Let time pass: the core is woken when it wants to be."""
        while True:
            due = self.queue[0].at_s if self.queue else self.world.wake_at
            if due > at_s:
                break
            if self.queue:
                self.step(self.queue.pop(0))
            else:
                self.step(Woke(due))
        self.now_s = at_s

    def step(self, event: Event) -> None:
        if isinstance(event, Looked):
            event = Looked(event.at_s, self.kernel.facts())
        self.world, effects = core.step(self.world, event)
        at_s = event.at_s
        assert self.world.wake_at > at_s, "it wants to be woken in the past"
        for effect in effects:
            self.done.append((at_s, effect))
            self.do(effect, at_s)

    def do(self, effect: Effect, at_s: float) -> None:
        if isinstance(effect, Watch | Inquire):
            return
        text = written(effect, self.plan)
        if isinstance(effect, Publish):
            self.published = effect.status
            if effect.line == self._line:
                return
            self._line = effect.line
        if isinstance(effect, Keep):
            self.kept = dict(effect.orders)
        self.lines.append(f"{round(at_s, 2):g} {text}")
        match effect:
            case LoadState() | LoadTable():
                refused = "nft" in self.refusing
            case Poke():
                self.later(Poked(at_s + ECHO_S, effect, tcp=2, others=1))
                return
            case Publish() | Say() | Watch() | Inquire() | Keep() | Answer():
                return
            case _:
                refused = "netlink" in self.refusing
        if refused:
            self.later(Failed(at_s + ECHO_S, effect, "no"))
        elif self.kernel.do(effect):
            self.later(Looked(at_s + ECHO_S, self.kernel.facts()))

    def later(self, event: Event) -> None:
        self.queue.append(event)
        self.queue.sort(key=lambda event: event.at_s)

    def clock(self, day: str, hour: int, minute: int) -> None:
        days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
        self.minute = minute_of_week(days.index(day), hour, minute)
        self.later(Clock(self.now_s, self.minute))

    def monitor(self, words: list[str]) -> bool:
        """What is done to the monitor alone."""
        match words:
            case ["order", verb, name, *how]:
                self.order(verb, name, how)
            case ["restart"]:
                self._begin()
            case ["reboot"]:
                self.published = None
                self._begin()
            case _:
                return False
        return True

    def order(self, verb: str, name: str, how: list[str]) -> None:
        for_s = float(how[how.index("for") + 1]) if "for" in how else None
        command = Command(
            verb,  # type: ignore[arg-type]
            name,
            for_s,
            force="force" in how,
            persist="persist" in how,
        )
        self.later(Ordered(self.now_s, 1, command))

    def happen(self, what: str) -> None:
        at_s, kernel = self.now_s, self.kernel
        if what == "end" or self.monitor(what.split()):
            return
        match what.split():
            case [name, *ipv6, ("." | "!") as heard]:
                self.later(Judged(at_s, name, 6 if ipv6 else 4, heard == ".", at_s))
                return
            case [name, "reaches", *how]:
                self.later(Inquired(at_s, name, 4, REACHES[" ".join(how)]))
                return
            case [name, "loses", "ipv6"]:
                kernel.loses_ipv6(name)
            case [name, "gets", "ipv6"]:
                kernel.gets_address(name)
            case [name, "loses", "carrier"]:
                kernel.devices[name] = replace(kernel.devices[name], carrier=False)
            case [name, "gets", "carrier"]:
                kernel.devices[name] = replace(kernel.devices[name], carrier=True)
            case [name, "loses", "address"]:
                kernel.loses_address(name)
            case [name, "gets", "address"]:
                kernel.gets_address(name)
            case [name, "vanishes"]:
                kernel.vanishes(name)
            case [name, "appears"]:
                kernel.appears(name)
            case [name, "has", *addresses]:
                kernel.leased(name, addresses)
            case [name, "gateway", address]:
                kernel.gateways[name] = address
                kernel.networkd()
            case ["removed", "default", device, table]:
                main = table == "main"
                kernel.defaults = [
                    d for d in kernel.defaults if (d.device, d.table == MAIN) != (device, main)
                ]
            case ["removed", "rule", priority]:
                kernel.rules = [r for r in kernel.rules if r.rule.priority != int(priority)]
            case ["left", "rule", priority]:
                left = Rule(4, Priority(int(priority)), "", table=Table(7063))
                kernel.rules.append(PresentRule(left, ours=True))
            case ["clock", day, time]:
                self.clock(day, *map(int, time.split(":")))
                return
            case ["networkd"]:
                kernel.networkd()
            case ["touched" | "reloaded" as how]:
                self.later(TableTouched(at_s, reloaded=how == "reloaded"))
                return
            case [whom, "refuses"]:
                self.refusing.add(whom)
            case [whom, "accepts"]:
                self.refusing.remove(whom)
            case _:
                raise AssertionError(f"what is {what!r}?")
        self.later(Looked(at_s, kernel.facts()))


def written(effect: Effect, plan: Plan) -> str:
    """An effect as a line of text."""
    match effect:
        case LoadState(text):
            return f"flip {_state(text)}"
        case LoadTable(text):
            return f"table {_state(text)}"
        case SetBalance(family, hops):
            ways = " + ".join(f"{h.device} via {h.gateway} weight {h.weight}" for h in hops)
            return f"balance{_of(family)} {ways or 'by nobody'}"
        case AddDefault(default):
            return f"add {_default(default, plan)}"
        case RemoveDefault(default):
            return f"remove {_default(default, plan)}"
        case AddRule(rule):
            return f"add {_rule(rule)}"
        case RemoveRule(rule):
            return f"remove {_rule(rule)}"
        case Publish(_, line):
            return f"publish {line}"
        case Keep(orders):
            return f"keep {', '.join(f'{name} {one.state}' for name, one in orders) or 'nothing'}"
        case Answer(_, refusal):
            return f"answer {refusal or 'done'}"
        case Say(text, warning, outage):
            of = f" ({outage})" if outage else ""
            return f"{'warn' if warning else 'say'} {text}{of}"
        case Inquire(uplink, family):
            return f"look at {uplink}{_of(family)}"
        case Poke(family, uplink):
            return f"poke clients of {uplink}{_of(family)}"
        case Watch(uplink, family, mode, quorum):
            return f"watch {uplink}{_of(family)} as {mode}, {quorum} must answer"


def _of(family: Family) -> str:
    return " of IPv6" if family == 6 else ""


def _state(text: str) -> str:
    said = _family_state(text, 4)
    if "restore6" in text:
        said += f"; of IPv6 {_family_state(text, 6)}"
    hours = re.findall(r"add element inet nib (hours_\d+)", text)
    for place, left in re.findall(r"add element inet nib better_(\w+) \{ (.*) \}", text):
        said += f"; {place} leaves {len(left.split(', '))}"
    return said + "".join(f"; {name}" for name in hours)


def _family_state(text: str, family: Family) -> str:
    assert f"flush chain inet nib balance_default{family}\n" in text
    rule = rf"add rule inet nib balance_default{family} numgen .* vmap \{{ (.*) \}}"
    if not (found := re.findall(rule, text)):
        return f"alive {_alive(text, family)}; new nobody"
    (balance,) = found
    ranges = re.findall(r"(\d+)(?:-(\d+))? : goto new_(\w+)", balance)
    shares = [(name, round(100 * (int(e or s) - int(s) + 1) / 65536)) for s, e, name in ranges]
    return f"alive {_alive(text, family)}; new " + " ".join(
        f"{name} {share}%" for name, share in shares
    )


def _alive(text: str, family: Family) -> str:
    (restore,) = re.findall(f"add element inet nib restore{family} (.*)", text)
    return " ".join(re.findall(r"goto (?:use|recall)_(\w+)", restore)) or "nobody"


def _rule(rule: Rule) -> str:
    return f"rule {rule.priority}" + (f" from {rule.source}" if rule.source else "")


def _default(default: Default, plan: Plan) -> str:
    table = "main" if default.table == MAIN else "own"
    return f"default{_of(default.family)} {default.device} {table} via {default.gateway}"

"""The little Perl that scripts for Net-ISP-Balance are made of.

Understood are calls of methods of `$B`, with texts, numbers, lists, `=>`, loops over lists
(`foreach` before a block or behind a statement), `map {...} LIST`, and variables that hold a text.
Every other statement is left out whole.  Nothing is ever run.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from nib.importer.calls import Call, Value, flat
from nib.importer.conf import Conf
from nib.importer.remarks import Notebook, Source, Spot, Unclear
from nib.problem import Path, Place, shown

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*|^=[a-z][\s\S]*?^=cut[^\n]*|^__(?:END|DATA)__[\s\S]*)
    |(?P<single>'(?:[^'\\]|\\.)*')
    |(?P<double>"(?:[^"\\]|\\.)*")
    |(?P<qw>qw\s*\([^()]*\)|qw\s*/[^/]*/)
    |(?P<here><<~?["']?(?P<tag>[A-Za-z_]\w*)["']?[\s\S]*?^\s*(?P=tag)$)
    |(?P<number>[0-9]+(?:\.[0-9]+)*)
    |(?P<variable>[$@%]\w+)
    |(?P<word>-{0,2}[A-Za-z_]\w*)
    |(?P<sign>=>|->|[\s\S])""",
    re.VERBOSE | re.MULTILINE,
)
_OPEN, _CLOSE = "([{", ")]}"
_DEPTH = 30
_STEPS = 20_000  # values that one statement may ask for, loops and all

Variables = dict[str, Value]

_METHODS = frozenset(
    {
        *("forward", "forward_with_snat", "force_route", "add_route", "iptables", "sh"),
        *("firewall_rule", "firewall_op", "iptables_append", "iptables_insert"),
        *("ip_route", "ip_rule", "enable_forwarding", "iptables_verbose", "verbose"),
    }
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


@dataclass(slots=True)
class _Script:
    """One file while it is read; `steps` and `spot` are those of the present statement."""

    conf: Conf
    variables: Variables = field(default_factory=dict)
    steps: int = 0
    spot: Spot = field(default_factory=lambda: Spot("", Place(1, 1), ""))

    def step(self) -> None:
        """Loops in loops can take longer than anyone waits."""
        self.steps += 1
        if self.steps > _STEPS:
            raise Unclear("this is too much to read")


def read_perl(source: Source, conf: Conf, path: Path, notes: Notebook) -> list[Call]:
    """What the script does; statements that cannot be read are left out, and belong to `path`."""
    script = _Script(conf)
    starts = [match.end() for match in re.finditer(r"^|\n", source.text)]
    calls: list[Call] = []
    for statement in _statements(_tokens(source.text)):
        script.spot = _spot(source, starts, statement)
        script.steps = 0
        try:
            calls += list(_run(script, statement, script.variables, 0))
        except Unclear as unclear:
            notes.unread(script.spot, path, unclear.message, unclear.hint)
            for token in statement:  # whatever it does to them
                script.variables.pop(token.text, None)
    return calls


def _tokens(text: str) -> list[_Token]:
    return [
        _Token(str(match.lastgroup), match[0], match.start())
        for match in _TOKEN.finditer(text)
        if match.lastgroup != "space"
    ]


def _statements(tokens: list[_Token]) -> Iterator[list[_Token]]:
    """Up to a `;` or the end of a block, both outside of every bracket."""
    current: list[_Token] = []
    depth = 0
    for index, token in enumerate(tokens):
        if token.text == ";" and depth <= 0:
            if current:
                yield current
            current, depth = [], 0
            continue
        current.append(token)
        if token.kind == "sign" and token.text in _OPEN:
            depth += 1
        elif token.kind == "sign" and token.text in _CLOSE:
            depth -= 1
            following = tokens[index + 1].text if index + 1 < len(tokens) else ""
            block = current[0].text in ("foreach", "for", "if", "unless", "while", "sub", "{")
            if token.text == "}" and depth <= 0 and block and following not in ("else", "elsif"):
                yield current
                current, depth = [], 0
    if current:
        yield current


def _spot(source: Source, starts: list[int], statement: list[_Token]) -> Spot:
    start, last = statement[0].at, statement[-1]
    line = bisect_right(starts, start)
    place = Place(line, start - starts[line - 1] + 1)
    return Spot(source.name, place, source.text[start : last.at + len(last.text)])


# -- statements


def _run(script: _Script, tokens: list[_Token], variables: Variables, depth: int) -> Iterator[Call]:
    """What one statement does.  Raises Unclear before it has done half of it."""
    script.step()
    if depth > _DEPTH:
        raise Unclear("this is nested too deep")
    match [token.text for token in tokens[:3]]:
        case ["foreach" | "for", *_]:
            yield from _loop(script, tokens, variables, depth)
            return
        case ["my" | "our", name, "="] if name[0] in "$@":
            _assign(script, name, tokens[3:], variables)
            return
        case [name, "=", *_] if name[0] in "$@":
            _assign(script, name, tokens[2:], variables)
            return
        case ["package" | "use" | "no", *_] | ["1"]:
            return
        case _:
            pass
    if postfix := _postfix(tokens):
        word = tokens[postfix].text
        if word not in ("foreach", "for"):
            raise Unclear(f"nib import does not decide what '{word}' decides")
        for item in flat(_Reader(script, tokens[postfix + 1 :], variables).whole()):
            yield from _run(script, tokens[:postfix], {**variables, "$_": item}, depth + 1)
        return
    yield _call(script, tokens, variables)


def _assign(script: _Script, name: str, tokens: list[_Token], variables: Variables) -> None:
    values = _Reader(script, tokens, variables).whole()
    variables[name] = flat(values) if name[0] == "@" else _single(values)


def _postfix(tokens: list[_Token]) -> int:
    """Where a loop or a condition stands behind a statement; 0 if nowhere."""
    depth = 0
    for index, token in enumerate(tokens):
        if token.kind == "sign":
            depth += (token.text in _OPEN) - (token.text in _CLOSE)
        words = ("foreach", "for", "if", "unless", "while", "until")
        if not depth and index and token.kind == "word" and token.text in words:
            return index
    return 0


def _loop(
    script: _Script, tokens: list[_Token], variables: Variables, depth: int
) -> Iterator[Call]:
    head = [token.text for token in tokens[1:3]]
    name, start = "$_", 1
    if head[0:1] == ["my"] and len(head) > 1:
        name, start = head[1], 3
    elif head and head[0].startswith("$"):
        name, start = head[0], 2
    end = _closing(tokens, start, "(")
    items = flat(_Reader(script, tokens[start : end + 1], variables).whole())
    block_end = _closing(tokens, end + 1, "{")
    if block_end != len(tokens) - 1:
        raise Unclear("nib import reads only simple loops")
    body = list(_statements(tokens[end + 2 : block_end]))
    for item in items:
        inner = {**variables, name: item}
        for statement in body:
            yield from _run(script, statement, inner, depth + 1)
        if any(inner[key] != variables[key] for key in variables if key != name):
            raise Unclear("nib import reads no loop that changes a variable")


def _closing(tokens: list[_Token], start: int, bracket: str) -> int:
    """The index of the bracket that closes the one at `start`."""
    depth = 0
    if start < len(tokens) and tokens[start].text == bracket:
        for index in range(start, len(tokens)):
            if tokens[index].kind == "sign":
                depth += (tokens[index].text in _OPEN) - (tokens[index].text in _CLOSE)
            if not depth:
                return index
    raise Unclear("nib import reads only simple loops")


def _call(script: _Script, tokens: list[_Token], variables: Variables) -> Call:
    """A statement that calls a method of `$B`."""
    match [token.text for token in tokens[:3]]:
        case ["$B" | "$bal" | "$self", "->", method] if method in _METHODS:
            pass
        case ["$B" | "$bal" | "$self", "->", method]:
            raise Unclear(f"the method {shown(method)} has no equivalent")
        case _:
            raise Unclear("nib import reads calls of $B's methods, and no other Perl")
    arguments = _Reader(script, tokens[3:], variables).whole() if tokens[3:] else ()
    if len(arguments) == 1 and tokens[3].text == "(":
        (inside,) = arguments
        arguments = inside if isinstance(inside, tuple) else (inside,)
    return Call(method, arguments, script.spot)


# -- expressions


def _single(values: tuple[Value, ...]) -> Value:
    if len(values) != 1:
        raise Unclear("nib import does not know the value of this variable")
    return values[0]


@dataclass(slots=True)
class _Reader:
    """Reads a list of expressions, from the first token to the last."""

    script: _Script
    tokens: list[_Token]
    variables: Variables
    at: int = 0
    depth: int = 0

    def whole(self) -> tuple[Value, ...]:
        """The values of everything; a `(...)` around it counts as a list inside a list."""
        values = self.list("")
        if self.at < len(self.tokens):
            raise self.odd()
        return values

    def peek(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def odd(self) -> Unclear:
        return Unclear(f"nib import does not understand {shown(self.peek() or 'the end')} here")

    def take(self, text: str) -> None:
        if self.peek() != text:
            raise self.odd()
        self.at += 1

    def list(self, end: str) -> tuple[Value, ...]:
        """Expressions with commas or `=>` between them, up to `end`."""
        if self.depth > _DEPTH:
            raise Unclear("this is nested too deep")
        values: list[Value] = []
        while self.at < len(self.tokens) and self.peek() != end:
            values.append(self.joined())
            if self.peek() not in (",", "=>"):
                break
            self.at += 1
        return tuple(values)

    def joined(self) -> Value:
        """One value, or texts with dots between them."""
        value = self.value()
        while self.peek() == ".":
            self.at += 1
            other = self.value()
            if not isinstance(value, str) or not isinstance(other, str):
                raise Unclear("a list is no text")
            value += other
        return value

    def value(self) -> Value:
        if self.at >= len(self.tokens):
            raise self.odd()
        self.script.step()
        token = self.tokens[self.at]
        self.at += 1
        match token.kind, token.text:
            case "single", text:
                return re.sub(r"\\(['\\])", r"\1", text[1:-1])
            case "double", text:
                return self.interpolated(text[1:-1])
            case "number", text:
                return text
            case "qw", text:
                return tuple(re.sub(r"^qw\s*.|.$", "", text).split())
            case "variable", "$B" | "$bal" | "$self":
                return self.asked()
            case "variable", name if name in self.variables:
                return self.variables[name]
            case "variable", name:
                raise Unclear(f"nib import does not know what {shown(name)} holds")
            case "word", "map":
                return self.mapped()
            case "word", "undef":
                return ""
            case "word", word if word.startswith("-") or self.peek() == "=>":
                return word
            case "sign", "-" if self.tokens[self.at : self.at + 1] != [] and (
                self.tokens[self.at].kind in ("single", "number")
            ):
                return f"-{self.value()}"
            case "sign", "(" | "[" as bracket:
                return self.bracket(_CLOSE[_OPEN.index(bracket)])
            case _:
                self.at -= 1
                raise self.odd()

    def bracket(self, close: str) -> tuple[Value, ...]:
        self.depth += 1
        values = self.list(close)
        self.depth -= 1
        self.take(close)
        return values

    def interpolated(self, text: str) -> str:
        def known(match: re.Match[str]) -> str:
            value = self.variables.get(match[0])
            if not isinstance(value, str):
                raise Unclear(f"nib import does not know what {shown(match[0])} holds")
            return value

        if "\\" in text or re.search(r"@\w|\$[^\w]|\$\w+(?:->)?[\[{]", text):
            raise Unclear("nib import reads no such text in double quotes")
        return re.sub(r"\$\w+", known, text)

    def asked(self) -> Value:
        """What `$B->method` answers: names, devices, and `net:NAME` for what only a host knows."""
        self.take("->")
        method = self.peek()
        self.at += 1
        conf = self.script.conf
        lists = {"isp_services": "isp", "lan_services": "lan"}
        if method in (*lists, "service_names"):
            if self.peek() == "(":
                self.take("(")
                self.take(")")
            rows = conf.of_role(lists[method]) if method in lists else conf.rows
            return tuple(row.service.text for row in rows)
        if method not in ("dev", "vdev", "net", "ip", "mark_table"):
            raise Unclear(f"the method {shown(method)} has no equivalent")
        self.take("(")
        name = _single(self.bracket(")"))
        device = next((r.device.text for r in conf.rows if r.service.text == name), None)
        if device is None or not isinstance(name, str):
            raise Unclear(f"{shown(name)} is no service")
        match method:
            case "dev" | "vdev":
                return device
            case "mark_table":
                return f"MARK-{name}"
            case _:
                return f"{method}:{name}"

    def mapped(self) -> tuple[Value, ...]:
        """`map {expression} list`."""
        self.take("{")
        start = self.at
        while self.at < len(self.tokens) and self.peek() != "}":
            self.at += 1
        body = self.tokens[start : self.at]
        self.take("}")
        items = flat(self.list(""))
        return tuple(
            value
            for item in items
            for value in replace(
                self,
                tokens=body,
                variables={**self.variables, "$_": item},
                at=0,
                depth=self.depth + 1,
            ).whole()
        )

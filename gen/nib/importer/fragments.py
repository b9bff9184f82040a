"""Rules of iptables that balance.yaml has no words for, as lines of a fragment of nib's table."""

from collections.abc import Iterable

from nib import values
from nib.importer.iptables import Ports, Rule
from nib.importer.remarks import Unclear

_DIRECTORY = "/etc/nib/nft.d"
# what connection tracking lets through anyway
ANSWERS = (("ESTABLISHED",), ("ESTABLISHED", "RELATED"), ("RELATED",))

_NUMBERS = {"gre": "47"}  # which nft does not know by name

_CHAINS = {"INPUT": "user_input", "FORWARD": "user_forward"}


def closing(rule: Rule, before: Iterable[Rule], why: str) -> Unclear:
    """A rule that closes something is left out, for `why`; the hint is a line that does it.

    `before` are the rules that it stands behind: what they let through, the line would close.
    """
    opened = not rule.inserted and any(
        (other.table, other.chain, other.target) == (rule.table, rule.chain, "ACCEPT")
        and other.match.states not in ANSWERS
        for other in before
    )
    line = "" if opened else _line(rule)
    if not line:
        return Unclear(why, f"a file in {_DIRECTORY} can: 'Your own rules' in operation.md")
    return Unclear(why, f"in a file {_DIRECTORY}/NAME.nft: {line}")


def _line(rule: Rule) -> str:
    """What drops or rejects the same new flows; empty where that is not sure, or every flow."""
    match = rule.match
    if rule.limit or match.icmp or match.dscp or match.states not in ((), ("NEW",)):
        return ""
    ports = [("sport", match.sport), ("dport", match.dport)]
    has_ports = match.protocol in values.WITH_PORTS
    if match.protocol not in (None, *values.PROTOCOLS) or (
        any(one for _, one in ports) and not has_ports
    ):
        return ""
    words: list[str] = []
    try:
        for word, device in (("iifname", match.device_in), ("oifname", match.device_out)):
            words += [f'{word} "{values.device(device)}"'] if device else []
        for word, address in (("saddr", match.source), ("daddr", match.destination)):
            words += [f"ip {word} {_network(address)}"] if address else []
    except values.Wrong:
        return ""
    said = [f"{match.protocol} {word} {_ports(one)}" for word, one in ports if one]
    if match.protocol and not said:
        said = [f"meta l4proto {_NUMBERS.get(match.protocol, match.protocol)}"]
    verdict = "reject" if rule.target.startswith("REJECT") else "drop"
    words += said
    return " ".join(["add rule inet nib", _CHAINS[rule.chain], *words, verdict]) if words else ""


def _network(text: str) -> str:
    found = values.network(text)
    if found.version == 6:
        raise values.Wrong("iptables is of IPv4")
    return str(found).removesuffix("/32")


def _ports(ports: Ports) -> str:
    texts = [str(low) if low == high else f"{low}-{high}" for low, high in ports]
    return texts[0] if len(texts) == 1 else f"{{ {', '.join(texts)} }}"

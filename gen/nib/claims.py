"""Which devices a .network file claims: systemd-networkd configures each by one file alone."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase


def devices(text: str) -> tuple[str, ...]:
    """The devices that one of nib's own files names."""
    names, _ = _match_section(text)
    return tuple(names)


def claim(name: str, text: str, ours: Mapping[str, str]) -> str | None:
    """The sentence why another's file `name` is in nib's way, or None if it is not.

    `ours` is device -> the name of nib's file for it.  networkd sorts all files by name and takes
    the first that matches, so a pattern counts only where it comes before nib's file; a file that
    names a device outright was meant for it and counts always.
    """
    names, other_keys = _match_section(text)
    for device, own in ours.items():
        if device in names:
            return f"is for {device}, which nib configures by {own}"
        if name < own and _matches(names, other_keys, device):
            pattern = f"matches {device} by Name={' '.join(names)}" if names else "matches all"
            return f"{pattern} and comes before nib's {own}"
    return None


def unfit(text: str, device: str) -> Iterator[str]:
    """Why another's file is not one to which nib can add what `device` needs."""
    names, _ = _match_section(text)
    if names and not _matches(names, False, device):
        yield f"is not for {device}, though balance.yaml says so"
    for section, entries in _sections(text):
        keys = dict(entries)
        default = keys.get("Destination", "default") in ("default", "0.0.0.0/0", "::/0")
        if section in ("[Network]", "[Route]") and "Gateway" in keys:
            if section == "[Network]" or (default and "Table" not in keys):
                yield (
                    f"has the default route by {keys['Gateway']}, which would win over every "
                    "uplink: say the gateway in balance.yaml alone"
                )
        elif section in ("[DHCPv4]", "[DHCP]", "[IPv6AcceptRA]") and "RouteTable" in keys:
            yield f"has RouteTable= in {section}, where nib needs the main table: remove it"


def _matches(patterns: list[str], other_keys: bool, device: str) -> bool:
    """As networkd does it: any pattern, but none of those with a `!`.

    Without a Name= the other keys decide, and what they match is known only on the host.
    """
    if not patterns:
        return not other_keys
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in patterns if pattern.startswith("!")]
    if any(_fits(device, pattern) for pattern in unwanted):
        return False
    return not wanted or any(_fits(device, pattern) for pattern in wanted)


def _fits(device: str, pattern: str) -> bool:
    return fnmatchcase(device, pattern.replace("[^", "[!"))


def _match_section(text: str) -> tuple[list[str], bool]:
    """The patterns of [Match] Name=, and whether the section has other keys.

    A file without the section matches nothing: networkd ignores it, as it does an empty one.
    """
    names: list[str] = []
    other_keys = False
    found = [entries for section, entries in _sections(text) if section == "[Match]"]
    for key, value in (entry for entries in found for entry in entries):
        if key != "Name":
            other_keys = other_keys or bool(value)
        elif not value:
            names = []
        else:
            inverted = "!" if value.startswith("!") else ""
            words = value.removeprefix("!").split()
            names += [inverted + word.strip("\"'") for word in words]
    return names, other_keys or not found


def _sections(text: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The sections of a unit file in their order, as `[Name]` and the keys with their values."""
    sections: list[tuple[str, list[tuple[str, str]]]] = []
    for line in map(str.strip, text.replace("\\\n", " ").splitlines()):
        if line.startswith("["):
            sections.append((line, []))
        elif sections and "=" in line and not line.startswith(("#", ";")):
            key, _, value = (part.strip() for part in line.partition("="))
            sections[-1][1].append((key, value))
    return sections

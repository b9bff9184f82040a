"""Which devices a .network file claims: systemd-networkd configures each by one file alone."""

from collections.abc import Mapping
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
    section = ""
    seen = False
    for line in map(str.strip, text.replace("\\\n", " ").splitlines()):
        if line.startswith(("#", ";")) or not line:
            continue
        if line.startswith("["):
            section = line
            seen = seen or section == "[Match]"
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if section != "[Match]" or not equals:
            continue
        if key != "Name":
            other_keys = other_keys or bool(value)
        elif not value:
            names = []
        else:
            inverted = "!" if value.startswith("!") else ""
            words = value.removeprefix("!").split()
            names += [inverted + word.strip("\"'") for word in words]
    return names, other_keys or not seen

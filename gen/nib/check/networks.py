"""Files of the user's own that nib adds to."""

from nib.check.reader import Reader
from nib.document import Path, dotted


def check_networks(reader: Reader) -> None:
    """Each is for one uplink or lan, and has something to add to."""
    first: dict[str, Path] = {}
    for kind in ("uplinks", "lans"):
        for name, holder in (reader.data.get(kind) or {}).items():
            file = (holder or {}).get("network")
            if file is None:
                continue
            path: Path = (kind, name, "network")
            if file.startswith("05-nib-"):
                hint = "leave the key out, and nib writes the whole file"
                reader.say(path, f"'{file}' is the name of a file of nib's", hint)
            if kind == "lans" and holder.get("address") == "external":
                sentence = "nib has nothing to add for an external lan"
                reader.say(path, sentence, "remove it; your file is all that the device needs")
            if first.setdefault(file, path) is not path:
                sentence = f"'{file}' is already that of {dotted(first[file][:2])}"
                reader.say(path, sentence, "what nib adds is for one device: split the file")

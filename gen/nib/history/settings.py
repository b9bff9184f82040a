"""Other settings of a probe, as `nib replay --set` gives them."""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from nib import values
from nib.check.probes import TIMES
from nib.probe import Probe

COUNTS = ("quorum", "fall", "rise")
MOST = 100

_TIME = re.compile(r"\d{1,6}(ms|s|m|h)")
_COUNT = re.compile(r"[1-9]\d{0,2}")


def changed(probe: Probe, texts: Iterable[str]) -> Probe:
    """`probe` with each `probe.KEY=VALUE`.  Raises ValueError, in words, for anything else."""
    for text in texts:
        key, equals, value = text.removeprefix("probe.").partition("=")
        if not equals or key not in (*COUNTS, *TIMES):
            known = ", ".join((*COUNTS, *TIMES))
            raise ValueError(
                f"--set {text}: write probe.KEY=VALUE; KEY is {known}\n"
                "  for others write a balance.yaml, and give it with --config"
            )
        if key in COUNTS:
            if not _COUNT.fullmatch(value) or int(value) > MOST:
                raise ValueError(f"--set {text}: must be a whole number from 1 to {MOST}")
            probe = _with(probe, key, int(value))
        else:
            if not _TIME.fullmatch(value):
                raise ValueError(f"--set {text}: must be a number and ms, s, m or h, like 500ms")
            try:
                probe = _with(probe, f"{key}_ms", values.duration(value, *TIMES[key]))
            except values.Wrong as problem:
                raise ValueError(f"--set {text}: {problem}") from None
    return probe


def _with(probe: Probe, field: str, value: int) -> Probe:
    fields: dict[str, Any] = {field: value}
    return replace(probe, **fields)

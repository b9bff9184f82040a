"""python tests/mutation MODULE TESTS: which changes of nib.monitor.MODULE do TESTS not see?

Cosmic Ray's mutants, of the operators that mean something, are tried one after the other, each in a
process that has imported everything else already.  Whoever survives is printed as a difference.

    pip install cosmic-ray; PYTHONPATH=gen python tests/mutation health tests/test_health.py
"""

import difflib
import importlib.abc
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from itertools import count
from pathlib import Path
from types import ModuleType

import hypothesis  # noqa: F401 - what takes long to import is there before the first fork
import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

GEN = Path(__file__).parent.parent.parent / "gen"
MEANT = re.compile(
    r"core/(NumberReplacer|AddNot|ReplaceOrWithAnd|ReplaceAndWithOr|ReplaceTrueWithFalse"
    r"|ReplaceFalseWithTrue|ReplaceUnaryOperator_\w+|ReplaceComparisonOperator_(Eq_NotEq|NotEq_Eq"
    r"|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt|In_NotIn|NotIn_In|Is_IsNot|IsNot_Is)"
    r"|ReplaceBinaryOperator_(Add_Sub|Sub_Add|Mul_Div|Div_Mul))"
)
# What was imported beforehand is not rewritten for assertions, and need not be.
OPTIONS = ("-q", "-x", "-pno:cacheprovider", "-Wignore::pytest.PytestAssertRewriteWarning")
PATIENCE_S = 60


class Mutant(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, and loads another text for it."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module that is mutated."""
        return importlib.util.spec_from_loader(name, self) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run its other text."""
        exec(compile(self._text, self._name, "exec"), module.__dict__)


def mutants(text: str) -> Iterator[str]:
    """Every other text of the module."""
    for name in sorted(filter(MEANT.fullmatch, operator_names())):
        for number in count():
            changed = mutate_code(text, get_operator(name)(), number)
            if changed is None:
                break
            yield changed


def survives(name: str, text: str, tests: Sequence[str]) -> bool:
    """Does no test see the change?  Who does not come to an end is seen."""
    child = os.fork()
    if not child:
        signal.alarm(PATIENCE_S)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        sys.meta_path.insert(0, Mutant(name, text))
        os._exit(int(pytest.main([*OPTIONS, *tests])))
    return os.waitpid(child, 0)[1] == 0


def main() -> int:
    """How many survive."""
    module, *tests = sys.argv[1:]
    text = (GEN / "nib" / "monitor" / f"{module}.py").read_text()
    name, tried, alive = f"nib.monitor.{module}", 0, 0
    assert survives(name, text, tests), "the tests fail of themselves"
    for changed in mutants(text):
        tried += 1
        if survives(name, changed, tests):
            alive += 1
            lines = difflib.unified_diff(text.splitlines(), changed.splitlines(), lineterm="", n=0)
            print("\n".join(list(lines)[2:]), flush=True)
    print(f"{module}: {alive} of {tried} survive")
    return int(bool(alive))


if __name__ == "__main__":
    sys.exit(main())

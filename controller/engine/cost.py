"""What one expression may cost, beyond what its runtime bounds.

CEL's runtime counts iterations, but not what each of them does: searching 700 kB for 350 kB takes a second, and an expression may
do that in each of its 10,000 iterations. So an expression that calls functions sees values of a bounded size, one that loops still less,
and one that only names a value sees it whatever its size. Memory is bounded apart from that, see ``controller.engine.memory``.
"""

import re

MAX_CALLED = 64 << 10
"""Characters of values, as JSON, for an expression that calls functions."""
MAX_LOOPED = 8 << 10
"""Characters of values, as JSON, for an expression that loops over a list or a map."""

STRING = r"""r?\"{3}(?s:.*?)\"{3}|r?'{3}(?s:.*?)'{3}|r?"(?:\\.|[^"\\])*"|r?'(?:\\.|[^'\\])*'"""
_CALL = re.compile(rf"{STRING}|\b(?P<call>\w+)\s*\(")
_LOOPS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})


def size_limit(source: str) -> int | None:
    """Give the number of characters of values that an expression may compute with; None if it does not compute."""
    calls = {match["call"] for match in _CALL.finditer(source) if match["call"]}
    if not calls:
        return None
    return MAX_LOOPED if calls & _LOOPS else MAX_CALLED

"""How much an expression may compute with, and how much memory it may take."""

import resource
from pathlib import Path

import pytest

from controller.engine.cost import MAX_CALLED, MAX_LOOPED, size_limit
from controller.engine.memory import bounded_memory

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux only"
)


@pytest.mark.parametrize(
    ("source", "limit"),
    [
        ("params.a", None),
        ("params.a + params.b['c']", None),
        ("(params.a) ? 'x' : 'y'", None),
        ("params.map", None),
        ("'x.map(y, z)' + \"size(x)\"", None),
        ("'''it's size(x)'''", None),
        ("size(params.a)", MAX_CALLED),
        ("params.a.split (',')", MAX_CALLED),
        ("math.greatest(1, 2)", MAX_CALLED),
        ("params.a.map(x, x)", MAX_LOOPED),
        ("size(params.a.filter(x, true))", MAX_LOOPED),
        ("params.a.exists_one(x, x)", MAX_LOOPED),
        ("params.a.all (x, x)", MAX_LOOPED),
    ],
)
def test_calls_and_loops_see_values_of_a_bounded_size(source: str, limit: int | None) -> None:
    assert size_limit(source) == limit


@needs_proc
def test_what_asks_for_more_memory_is_refused_and_the_bound_goes_away() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryError), bounded_memory(16 << 20):
        bytearray(64 << 20)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    assert len(bytearray(64 << 20)) == 64 << 20


@needs_proc
def test_a_tighter_bound_holds_inside_a_wider_one() -> None:
    with bounded_memory(16 << 20), bounded_memory(1 << 40), pytest.raises(MemoryError):
        bytearray(64 << 20)

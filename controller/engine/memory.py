"""A bound on the memory that one calculation may take.

CEL's runtime limits how long an expression is evaluated but not how much memory it takes, and ``s.split("").join(s)`` with a text of
100 kB needs 10 GB. The kernel can refuse it: with the address space of the process limited for the time of the evaluation, the runtime
reports an error like any other, instead of the whole process being ended for what one author wrote.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()


@contextmanager
def bounded_memory(size: int) -> Iterator[None]:
    """Let the process take at most so many bytes more than it has. Without ``/proc``, as on a developer's Mac, nothing is bounded.

    Raises:
        MemoryError: by whatever asks for more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_tighter(soft, _address_space(), size), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _tighter(limit: int, used: int | None, size: int) -> int:
    if used is None:
        return limit
    return used + size if limit == resource.RLIM_INFINITY else min(limit, used + size)


def _address_space() -> int | None:
    """Give the size of the process's address space in bytes."""
    try:
        return int(_STATM.read_text().split()[0]) * _PAGE
    except FileNotFoundError:
        return None

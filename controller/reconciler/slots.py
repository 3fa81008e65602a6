"""How many jobs of a connection may be unfinished at once."""

from collections.abc import Callable, Hashable


class JobSlots:
    """Places for unfinished jobs, shared by the runs of a connection.

    A run starts as many jobs as there is ``room`` for. One that has more to start waits in line, and is woken as soon as places are free and
    its turn has come; until it has been there, nobody passes it. So nothing that waits for a place has been started, and a run that is
    suspended or cancelled meanwhile starts nothing more.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[Hashable] = set()
        self._line: dict[Hashable, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._holders)

    def room(self, run: Hashable) -> int:
        """Give how many more places a run may take now: none while another one waits before it."""
        first = next(iter(self._line), run)
        return self._free if first == run else 0

    def take(self, holder: Hashable) -> None:
        """Take a place. A job that runs already has its place even beyond the limit."""
        self._holders.add(holder)

    def release(self, holder: Hashable) -> None:
        """Give a place back; nothing happens if it was not taken."""
        self._holders.discard(holder)
        self._call_first()

    def wait(self, run: Hashable, wake: Callable[[], None]) -> None:
        """Join the line, or stay where one is in it."""
        self._line.setdefault(run, wake)

    def leave(self, run: Hashable) -> None:
        """Leave the line; nothing happens if one is not in it."""
        self._line.pop(run, None)
        self._call_first()

    def resize(self, limit: int) -> None:
        """Change the number of places. Jobs beyond a smaller number run to their end."""
        self._limit = limit
        self._call_first()

    @property
    def _free(self) -> int:
        return max(self._limit - len(self._holders), 0)

    def _call_first(self) -> None:
        if self._line and self._free:
            next(iter(self._line.values()))()

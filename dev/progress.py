"""How a long build shows itself: a bar for a person at a terminal, a line now and then for a log."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

PLAIN_INTERVAL = 30.0
"""Seconds between two lines about one build in a log."""


class BuildProgress(Protocol):
    """What a sequence of builds reports about itself."""

    def begin(self, name: str, *, packages: int) -> None:
        """The next build starts; it compiles at most that many packages."""

    def wait(self, name: str) -> None:
        """Another process is building it, and this one waits."""

    def advance(self) -> None:
        """One package more has been compiled."""

    def finish(self) -> None:
        """The build is done, or another process had done it."""


@contextmanager
def show_progress(*, total: int) -> Iterator[BuildProgress]:
    """Progress of `total` builds on standard error, in the form that suits it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainProgress(console, total=total)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        console.print(
            "Building the local servers. This happens once and takes up to 20 minutes on two cores."
        )
        yield TerminalProgress(bars, total=total)


class TerminalProgress:
    """One bar for each build, that of the current one moving."""

    def __init__(self, bars: Progress, *, total: int) -> None:
        self._bars = bars
        self._total = total
        self._number = 0
        self._task: TaskID | None = None
        self._packages = 0

    def begin(self, name: str, *, packages: int) -> None:
        self._number += 1
        self._packages = packages
        self._task = self._bars.add_task(f"[{self._number}/{self._total}] {name}", total=packages, note="")

    def wait(self, name: str) -> None:
        self._bars.console.print(_waiting(name))

    def advance(self) -> None:
        if self._task is None:
            return
        self._bars.advance(self._task)
        compiled = int(self._bars.tasks[self._task].completed)
        self._bars.update(self._task, note=f"{min(compiled, self._packages)} of {self._packages} packages")

    def finish(self) -> None:
        if self._task is not None:
            self._bars.update(self._task, completed=self._packages, note="done")
            self._bars.stop_task(self._task)
            self._task = None


class PlainProgress:
    """A line when a build starts and ends, and one every half minute between."""

    def __init__(self, console: Console, *, total: int) -> None:
        self._console = console
        self._total = total
        self._number = 0
        self._name = ""
        self._packages = self._compiled = 0
        self._started = self._shown = 0.0

    def begin(self, name: str, *, packages: int) -> None:
        self._number += 1
        self._name, self._packages, self._compiled = name, packages, 0
        self._started = self._shown = time.monotonic()
        self._say("building")

    def wait(self, name: str) -> None:
        self._console.print(_waiting(name))

    def advance(self) -> None:
        self._compiled += 1
        if time.monotonic() - self._shown >= PLAIN_INTERVAL:
            self._shown = time.monotonic()
            self._say(
                f"{self._compiled} of at most {self._packages} packages compiled, {self._elapsed()} so far"
            )

    def finish(self) -> None:
        if self._name:
            self._say(f"built in {self._elapsed()}")
            self._name = ""

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes}m{seconds:02}s"

    def _say(self, what: str) -> None:
        self._console.print(
            f"[{self._number}/{self._total}] {self._name}: {what}", highlight=False, markup=False
        )


def _waiting(name: str) -> str:
    return f"Another process is building {name}: waiting for it."

"""How the engine says what is wrong with a DAG or with one node's rendering."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from typing_extensions import override

MAX_SHOWN = 10
MAX_VALUE_TEXT = 80
MAX_PROBLEM = 350
"""Characters of one problem: ten of them fit into a condition's message."""
MAX_MESSAGE = 1000
"""Characters of a node's message."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the field that holds it and a sentence for the person who made it."""

    field: str
    message: str
    name: str = ""
    """A name that nothing has; the message then still lacks its end."""
    known: Collection[str] = ()
    """Names of which one may have been meant."""

    @override
    def __str__(self) -> str:
        return cut(f"{self.field}: {self.message}{self._hint()}", MAX_PROBLEM)

    def _hint(self) -> str:
        """Look for the nearest known name. Only here, since it takes long and few problems are shown."""
        if not self.name:
            return ""
        near = get_close_matches(self.name, self.known, n=1)
        return f'; did you mean "{near[0]}"?' if near else "."


class InvalidDAG(Exception):
    """A DAG that cannot run as it is written. Carries every problem found, in the order of the document."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    @override
    def __str__(self) -> str:
        shown = [str(problem) for problem in self.problems[:MAX_SHOWN]]
        if len(self.problems) > MAX_SHOWN:
            shown.append(f"and {len(self.problems) - MAX_SHOWN} more")
        return "; ".join(shown)


class RenderError(Exception):
    """A node's job cannot be made from its template and its inputs. The message names field and value."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(f"{field}: {message}")


def shown(value: Any) -> str:
    """Spell a value for a message as a user would, shortened so that it cannot flood a status."""
    text = f'"{value}"' if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return cut(text, MAX_VALUE_TEXT)


def one_line(message: str) -> str:
    """Make a message that came from elsewhere fit for a node's status."""
    return cut(" ".join(message.split()), MAX_MESSAGE)


def cut(text: str, length: int) -> str:
    """Shorten a text that is too long, and show that it was."""
    return text if len(text) <= length else text[: length - 1] + "…"


def unknown(field: str, name: str, what: str, known: Collection[str]) -> Problem:
    """Say that a name is unknown, with the nearest known one as a hint."""
    return Problem(field, f"{shown(name)} is not {what}", name, known)

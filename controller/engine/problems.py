"""How the engine says what is wrong with a DAG or with one node's rendering."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from typing_extensions import override

MAX_SHOWN = 10
MAX_VALUE_TEXT = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the field that holds it and a sentence for the person who made it."""

    field: str
    message: str

    @override
    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


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
    """Quote a value for a message, shortened so that it cannot flood a status."""
    text = f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= MAX_VALUE_TEXT else text[: MAX_VALUE_TEXT - 1] + "…"


def unknown(value: str, what: str, known: Iterable[str]) -> str:
    """Say that a name is unknown, with the nearest known one as a hint."""
    near = get_close_matches(value, list(known), n=1)
    hint = f'; did you mean "{near[0]}"?' if near else "."
    return f'"{value}" is not {what}{hint}'

"""Parameters whose values are in Secrets. The engine never knows such a value: it handles a placeholder, which stands for it.

Expressions may pass a placeholder on, and put text around it, until it stands in ``Env`` of a job's task. There, and nowhere else, the shell
puts the value in its place, right before the job is submitted. The rendered job, its hash and all that is kept or shown hold the
placeholder; so a value that has changed does not make another job of an attempt.

That a placeholder gets nowhere else is found out before the run. An expression that reads one does nothing else, since whatever it computed, it
would compute with the placeholder. And as results of programs could contain a text that looks like one, they are cleaned of such.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from controller.api.parameters import DAGParameter
from controller.api.references import SecretKeyRef
from controller.engine.expressions import Expression, Template
from controller.engine.problems import Problem, shown

MARK = "\ufdd0"
"""A character that Unicode reserves for use inside of programs, so no text for others holds it."""

_ENV = re.compile(r"spec\.\w+\[[^]]*\]\.job\.Tasks\[0\]\.Env\.")

Names = frozenset[tuple[str, str]]
"""What expressions read, as in ``Expression.references``."""


def placeholder(name: str) -> str:
    """Give what stands for the value of a parameter."""
    return f"{MARK}{name}{MARK}"


def placeholders(parameters: Iterable[DAGParameter]) -> dict[str, str]:
    """Give the placeholders of the parameters that come from Secrets, by their names."""
    return {parameter.name: placeholder(parameter.name) for parameter in parameters if parameter.secret}


def secrets_read(parameters: Iterable[DAGParameter], references: Names) -> dict[str, SecretKeyRef]:
    """Give the Secrets that expressions read, by the names of the parameters."""
    return {
        parameter.name: parameter.secret
        for parameter in parameters
        if parameter.secret and ("params", parameter.name) in references
    }


def without_placeholders(value: Any) -> Any:
    """Give the same JSON value without what could be taken for a placeholder."""
    match value:
        case str():
            return value.replace(MARK, "\ufffd")
        case dict():
            return {key: without_placeholders(item) for key, item in value.items()}
        case list() | tuple():
            return [without_placeholders(item) for item in value]
        case _:
            return value


def exposures(
    parameters: Sequence[DAGParameter],
    *,
    field: str,
    job: Template,
    arguments: Template,
    others: Mapping[str, Template | Expression | None],
) -> Iterator[Problem]:
    """Find where a node would have the value of a Secret anywhere but in ``Env`` of its job.

    Args:
        parameters: those of the DAG.
        field: the node's place in the resource.
        job: its job, or that of its template.
        arguments: its arguments for the template.
        others: its conditions and whatever else holds expressions, by their places in the resource.
    """
    secret: Names = frozenset(("params", parameter.name) for parameter in parameters if parameter.secret)
    if not secret:
        return
    for place, source in others.items():
        for name in sorted(_read(source.references if source else frozenset(), secret)):
            yield Problem(place, f"{_spelled(name)} comes from a Secret, and only Env of a job may hold it.")
    passed = set(secret)
    for place, expression in arguments.expressions():
        if _read(expression.references, secret):
            passed.add(("inputs", _argument(place, field)))
            yield from _computed(expression, place)
    for place, expression in job.expressions():
        for name in sorted(_read(expression.references, frozenset(passed))):
            if not _ENV.match(place):
                yield Problem(
                    place, f"{_spelled(name)} comes from a Secret, and only Env of a job may hold it."
                )
            else:
                yield from _computed(expression, place)


def _read(references: Names, secret: Names) -> Names:
    """Give what is read of Secrets; whoever reads all parameters reads those, too."""
    roots = {root for root, _ in secret}
    return references & secret | {(root, name) for root, name in references if not name and root in roots}


def _computed(expression: Expression, place: str) -> Iterator[Problem]:
    if not expression.is_name:
        yield Problem(
            place,
            f"the expression {shown(expression.source)} computes with a value from a Secret, which only the job gets to know. "
            "Pass it on as it is, and write other text around ${{ … }}.",
        )


def _argument(place: str, field: str) -> str:
    return re.split(r"[.[]", place.removeprefix(f"{field}.arguments."))[0]


def _spelled(name: tuple[str, str]) -> str:
    return ".".join(filter(None, name))

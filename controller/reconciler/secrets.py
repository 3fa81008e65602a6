"""The values of Secrets, put into a job right before it is submitted, and kept out of everything else.

A submission in doubt is repeated with the bytes that were sent before, whatever became of the Secret meanwhile: a job of the same name with another
body would be an update, which Bacalhau answers by cancelling the job and running it again.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.api.references import SecretKeyRef
from controller.bacalhau.errors import BacalhauError
from controller.engine.problems import cut
from controller.engine.secrets import placeholder
from controller.kube.errors import KubeError
from controller.kube.secrets import SecretMissing
from controller.reconciler.access import ReadSecret, Unresolved
from controller.reconciler.connection import Problem

FRESH_SECONDS = 1.0
"""How long a value that was read may be used. Hundreds of jobs that start together read a Secret once."""

MAX_TEXT = 4096
"""Characters of a server's words that are shown."""

MIN_PART = 8
"""Characters from which on the beginning of a value is not shown either: a server may have cut what it says."""

REDACTED = "•••"


@dataclass(frozen=True, slots=True)
class Filled:
    """A job with values of Secrets in it."""

    job: Mapping[str, Any] = field(repr=False)
    values: tuple[str, ...] = field(default=(), repr=False)

    def redacted(self, error: BacalhauError) -> BacalhauError:
        """Give the same error without the values, which a server may have repeated."""
        if not self.values:
            return error
        text = cut(str(error), MAX_TEXT)
        for form in sorted((form for value in self.values for form in _forms(value)), key=len, reverse=True):
            text = _without(text, form)
        return type(error)(text)


class SecretReader:
    """Reads the Secrets that one run needs."""

    def __init__(self, read: ReadSecret, namespace: str) -> None:
        self._read = read
        self._namespace = namespace
        self._lock = asyncio.Lock()
        self._known: dict[SecretKeyRef, tuple[float, str | KubeError]] = {}

    async def fill(self, job: Mapping[str, Any], secrets: Mapping[str, SecretKeyRef]) -> Filled:
        """Give a job with the values that belong there.

        Args:
            job: the job, with placeholders in ``Env`` of its task.
            secrets: what to read, by the parameters that they are for.

        Raises:
            Unresolved: a value is missing, or cannot be read, or cannot be in an environment.
        """
        if not secrets:
            return Filled(job)
        values = {placeholder(name): await self._value(name, ref) for name, ref in secrets.items()}
        (task,) = job["Tasks"]
        given: Mapping[str, str] = task.get("Env") or {}
        env = {name: _replaced(text, values) for name, text in given.items()}
        for name, text in env.items():
            if text != given[name]:
                _check(name, text)
        return Filled({**job, "Tasks": [{**task, "Env": env} if env else task]}, tuple(values.values()))

    async def _value(self, parameter: str, ref: SecretKeyRef) -> str:
        place = f"spec.parameters[{parameter}].valueFrom.secretKeyRef"
        match await self._recent(ref):
            case str() as value:
                return value
            case SecretMissing() as error:
                raise Unresolved(Problem("SecretNotFound", f"{place}: {error}"))
            case KubeError() as error:
                raise Unresolved(
                    Problem("SecretUnreadable", f'{place}: The Secret "{ref.name}" cannot be read: {error}')
                )

    async def _recent(self, ref: SecretKeyRef) -> str | KubeError:
        async with self._lock:
            now = asyncio.get_running_loop().time()
            self._known = {
                known: entry for known, entry in self._known.items() if now - entry[0] < FRESH_SECONDS
            }
            if ref not in self._known:
                self._known[ref] = now, await self._look(ref)
            return self._known[ref][1]

    async def _look(self, ref: SecretKeyRef) -> str | KubeError:
        try:
            return await self._read(namespace=self._namespace, name=ref.name, key=ref.key)
        except KubeError as error:
            return error


def _replaced(text: str, values: Mapping[str, str]) -> str:
    """Put all values in at once, so that a value is not searched for placeholders."""
    return re.sub("|".join(map(re.escape, values)), lambda found: values[found[0]], text)


def _check(name: str, text: str) -> None:
    """See that Bacalhau would take a variable, and take it for what it is."""
    wrong = None
    if not text:
        wrong = "is empty, which Bacalhau does not accept"
    elif text.startswith("env:"):
        wrong = "begins with env:, which Bacalhau takes for the name of a variable of the compute node"
    elif "\0" in text:
        wrong = "holds a character NUL, which no environment variable can"
    if wrong:
        raise Unresolved(
            Problem("SecretInvalid", f"The variable {name} from a Secret {wrong}. Correct the Secret.")
        )


def _forms(value: str) -> Iterator[str]:
    """Give a value as it is, and as JSON and quoted texts spell it."""
    yield value
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]


def _without(text: str, value: str) -> str:
    """Take a value out of a text, or the longest beginning of it."""
    shortest = min(MIN_PART, len(value))
    if value[:shortest] not in text:
        return text
    longest = next(n for n in range(min(len(value), len(text)), 0, -1) if value[:n] in text)
    return text.replace(value[:longest], REDACTED)

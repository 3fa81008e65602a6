"""Bacalhau's HTTP API (1.8 and later) as typed calls.

Three of the API's habits are dealt with here, so that no caller has to know them:

- A look-up by name falls back to *prefixes of IDs*, and a look-up by ID ignores the namespace. An answer counts only
  if it is the job that was asked for.
- A job of a known name is an *update*, which cancels and repeats it. An identical one is answered with 500 and a text.
  ``submit`` therefore tells ``Conflict`` apart, and ``controller.bacalhau.submission`` decides.
- Stopping a job that has ended is an error there and nothing to worry about here.

Calls that change nothing are repeated a few times when the failure is transient; a submission never is.
"""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import quote

from pydantic import AliasPath, BaseModel, BeforeValidator, Field, ValidationError
from typing_extensions import override

from controller.api.bacalhau import ComputeNode, Execution, Job
from controller.bacalhau.errors import (
    AnswerTooLarge,
    BacalhauError,
    Conflict,
    Forbidden,
    RateLimited,
    Refused,
    ServerError,
    Transient,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from controller.bacalhau.http import Answer, Channel, Params, Traffic

__all__ = ["BacalhauClient", "canonical_json"]

JOBS = "api/v1/orchestrator/jobs"
NODES = "api/v1/orchestrator/nodes"
AGENT = "api/v1/agent"

ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.1
PAGE_SIZES = (500, 50, 5)
"""Large pages are cheaper, but of large jobs only few fit into an answer."""

Model = TypeVar("Model", bound=BaseModel)


class BacalhauClient:
    """One Bacalhau cluster. Methods raise the errors of ``controller.bacalhau.errors``."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @override
    def __str__(self) -> str:
        return str(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._channel.aclose()

    def use(self, channel: Channel) -> Channel:
        """Go on through another channel, with another address or other credentials; returns the one used so far."""
        used, self._channel = self._channel, channel
        return used

    @property
    def traffic(self) -> Traffic:
        """How many requests and bytes went to this cluster."""
        return self._channel.traffic

    async def submit(self, job: Mapping[str, Any]) -> str:
        """Submit a job once, without repeating the request, and return its ID.

        The body is the same byte for byte whenever the job is the same.

        Raises:
            Conflict: a job of this name exists; whether it is the same one is for the caller to find out.
            Transient: the outcome is unknown.
        """
        body = canonical_json({"Force": False, "Job": job})
        answer = await self._channel.request("PUT", JOBS, operation="submit", body=body)
        submitted = self._read(_Submitted, self._successful(answer))
        return submitted.job_id

    async def get(self, id_or_name: str, *, namespace: str, executions: bool = False) -> Job | None:
        """The job with this ID, or with this name in the namespace, or None.

        Args:
            executions: Fill ``Job.executions``, oldest first.
        """
        params = {"namespace": namespace} | ({"include": "executions"} if executions else {})
        try:
            answer = await self._repeatable(
                "GET", f"{JOBS}/{quote(id_or_name, safe='')}", operation="get", params=params
            )
        except _NotFound:
            return None
        job = self._read(_JobAnswer, answer).unpack(executions=executions)
        return job if _is_meant(job, id_or_name, namespace) else None

    async def list_newest(self, namespace: str, *, page_size: int = 100) -> AsyncIterator[tuple[Job, ...]]:
        """Pages of the namespace's jobs, the most recently modified first. ``page_size`` 0 gives all in one page.

        A job that changes meanwhile may be met twice, or be missed by the later pages. The server's effort for each
        page grows with the namespace, not with the page.
        """
        async for page in self._pages(namespace, order_by="modified_at", reverse=True, limit=page_size):
            yield page

    async def list_all(self, namespace: str) -> tuple[Job, ...]:
        """All jobs of the namespace, oldest first, none of them missed or met twice."""
        for size in PAGE_SIZES:
            with contextlib.suppress(AnswerTooLarge):
                pages = self._pages(namespace, order_by="created_at", reverse=False, limit=size)
                return tuple([job async for page in pages for job in page])
        raise AnswerTooLarge(
            f"{self} lists jobs that are too large to be read in the namespace: {namespace}."
        )

    async def stop(self, job_id: str, *, namespace: str, reason: str) -> None:
        """Ask that a job be stopped. Its state message becomes ``reason``. A job that ended, or is gone, is left alone."""
        path = f"{JOBS}/{quote(job_id, safe='')}"
        body = canonical_json({"reason": reason})
        try:
            await self._repeatable(
                "DELETE", path, operation="stop", params={"namespace": namespace}, body=body
            )
        except (_NotFound, _Ended):
            return

    async def nodes(self) -> tuple[ComputeNode, ...]:
        """The nodes that the orchestrator knows, connected or not."""
        answer = await self._repeatable("GET", NODES, operation="nodes")
        return self._read(_NodesAnswer, answer).nodes

    async def version(self) -> str:
        """The server's version, such as ``v1.9.3``. Needs no credentials."""
        answer = await self._repeatable("GET", f"{AGENT}/version", operation="version")
        return self._read(_VersionAnswer, answer).git_version

    async def alive(self) -> bool:
        """Whether the server says that it is up. Needs no credentials."""
        try:
            self._successful(await self._channel.request("GET", f"{AGENT}/alive", operation="alive"))
        except BacalhauError:
            return False
        return True

    async def _pages(
        self, namespace: str, *, order_by: str, reverse: bool, limit: int
    ) -> AsyncIterator[tuple[Job, ...]]:
        token = ""
        while True:
            params: dict[str, str | int] = {
                "namespace": namespace,
                "limit": limit,
                "order_by": order_by,
            }
            params |= {"reverse": str(reverse).lower()} | ({"next_token": token} if token else {})
            page = self._read(
                _ListAnswer, await self._repeatable("GET", JOBS, operation="list", params=params)
            )
            if page.items:
                yield page.items
            token = page.next_token
            if not token:
                return

    async def _repeatable(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        params: Params | None = None,
        body: bytes | None = None,
    ) -> bytes:
        """The body of a successful answer, asking again after transient failures."""
        for attempt in range(ATTEMPTS - 1):
            try:
                return await self._once(method, path, operation=operation, params=params, body=body)
            except Transient:
                await asyncio.sleep(FIRST_PAUSE_SECONDS * 4**attempt * random.uniform(0.5, 1.5))
        return await self._once(method, path, operation=operation, params=params, body=body)

    async def _once(
        self, method: str, path: str, *, operation: str, params: Params | None, body: bytes | None
    ) -> bytes:
        answer = await self._channel.request(method, path, operation=operation, params=params, body=body)
        return self._successful(answer)

    def _successful(self, answer: Answer) -> bytes:
        if answer.status == 200:
            return answer.body
        raise _failure(str(self), answer.status, _complaint(answer.body))

    def _read(self, model: type[Model], body: bytes) -> Model:
        try:
            return model.model_validate_json(body)
        except ValidationError as error:
            raise UnexpectedAnswer(
                f"{self} answered with something that is not Bacalhau's API: {_first_problem(error)}. "
                "Check that the address is that of a Bacalhau orchestrator of version 1.8 or later."
            ) from error


def canonical_json(value: object) -> bytes:
    """JSON in one spelling only: equal values give equal bytes.

    Raises:
        Refused: the value holds a number that JSON has no spelling for.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise Refused(
            "The job holds a number that is infinite or not a number, which JSON cannot carry."
        ) from error
    return text.encode("utf-8", errors="replace")


class _NotFound(BacalhauError):
    """No such job."""


class _Ended(BacalhauError):
    """The job has ended, so it cannot be stopped."""


_Jobs = Annotated[tuple[Job, ...], BeforeValidator(lambda items: items or ())]
_Executions = Annotated[tuple[Execution, ...], BeforeValidator(lambda items: items or ())]
_Nodes = Annotated[tuple[ComputeNode, ...], BeforeValidator(lambda items: items or ())]
_Text = Annotated[str, BeforeValidator(lambda text: text or "")]


class _Submitted(BaseModel):
    job_id: str = Field(alias="JobID", min_length=1)


class _JobAnswer(BaseModel):
    job: Job = Field(alias="Job")
    executions: _Executions = Field(default=(), validation_alias=AliasPath("Executions", "Items"))

    def unpack(self, *, executions: bool) -> Job:
        if not executions:
            return self.job
        oldest_first = sorted(self.executions, key=lambda execution: execution.created_at)
        return self.job.model_copy(update={"executions": tuple(oldest_first)})


class _ListAnswer(BaseModel):
    items: _Jobs = Field(alias="Items")
    next_token: _Text = Field(default="", alias="NextToken")


class _NodesAnswer(BaseModel):
    nodes: _Nodes = Field(alias="Nodes")


class _VersionAnswer(BaseModel):
    git_version: str = Field(alias="GitVersion")


class _Complaint(BaseModel):
    """The body of an error."""

    message: _Text = Field(default="", alias="Message")
    code: _Text = Field(default="", alias="Code")
    component: _Text = Field(default="", alias="Component")


def _complaint(body: bytes) -> _Complaint:
    """What an error says; not all of them are JSON."""
    try:
        return _Complaint.model_validate_json(body)
    except ValidationError:
        return _Complaint(Message=body[:300].decode("utf-8", errors="replace").strip())


def _is_meant(job: Job, id_or_name: str, namespace: str) -> bool:
    return job.id == id_or_name or (job.name == id_or_name and job.namespace == namespace)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in problem['loc'])} {problem['msg']}".strip()


def _failure(server: str, status: int, complaint: _Complaint) -> BacalhauError:
    """The error for an answer that is not 200."""
    said = complaint.message.rstrip(".") or f"HTTP {status}"
    match status:
        case 401:
            return Unauthorized(
                f"{server} does not accept the credentials: {said}. "
                "Check spec.auth of the BacalhauConnection and the Secret that it names."
            )
        case 403:
            return Forbidden(
                f"{server} denies the request: {said}. "
                "Give the user of the BacalhauConnection the capabilities read:job, write:job and read:node."
            )
        case 404:
            return _not_found(server, said, complaint)
        case 409:
            return Conflict(f"{server} has a job of this name: {said}.")
        case 429:
            return RateLimited(
                f"{server} receives more requests than it allows: {said}. "
                "If this persists, lower spec.limits.requestsPerSecond of the BacalhauConnection."
            )
        case _ if status >= 500:
            return _server_failure(server, status, said, complaint)
        case _:
            return Refused(f"{server} refuses the request: {said}.")


def _not_found(server: str, said: str, complaint: _Complaint) -> BacalhauError:
    if complaint.component == "JobStore":
        return _NotFound(f"{server}: {said}.")
    return UnexpectedAnswer(
        f"{server} has no Bacalhau API: {said}. "
        "Check that the endpoint of the BacalhauConnection is that of an orchestrator."
    )


def _server_failure(server: str, status: int, said: str, complaint: _Complaint) -> BacalhauError:
    """5xx: some of Bacalhau's are plain facts about a job."""
    if said.startswith("no changes detected"):
        return Conflict(f"{server} has this very job: {said}.")
    if complaint.code == "MultipleJobsFound":  # several IDs begin so, hence no job has the name
        return _NotFound(f"{server}: {said}.")
    if complaint.code == "ConflictJobState" or said.startswith("cannot stop job in state"):
        return _Ended(f"{server}: {said}.")
    kind = Unavailable if status in (502, 503, 504) else ServerError
    return kind(
        f"{server} failed to serve the request (HTTP {status}): {said}. Look into the server's log if it persists."
    )

"""A Bacalhau 1.9.3 in memory, for faults and for scale. The contract tests hold it to what the real server does.

``FakeBacalhau`` is the server's state and its HTTP behaviour without a network: ``channel()`` and ``client()`` talk to it
directly, ``serve()`` puts it behind a real socket. Nothing runs in the background: what a job does with time follows
from the clock and is worked out when somebody asks, so that fake clocks work.

Tests say what becomes of jobs in one of two ways: by hand (``complete``, ``fail``, ``queue`` …), or by a ``script``
that gives each job a ``Fate`` when it is submitted. Faults are queued with ``fault`` and used up one by one.
"""

import asyncio
import base64
import copy
import heapq
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import httpx
from aiohttp import web

from controller.api.bacalhau import ComputeState, JobState
from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.http import Basic, Bearer, Channel, Endpoint

JOBS = "/api/v1/orchestrator/jobs"
MAX_BODY_BYTES = 10_000_000
RESERVED = "bacalhau.org/"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What becomes of a job after it was submitted. Times are seconds since the submission."""

    starts_after: float = 0.0
    ends_after: float | None = 0.05
    """None: it runs until somebody ends it."""
    exit_code: int = 0
    failure: str | None = None
    """The message of the failed execution; None: the job completes."""
    result: Json = field(default_factory=dict)
    """The published result; empty: a CID of its own where an IPFS publisher was asked for."""
    stdout: str = ""
    stderr: str = ""


@dataclass(slots=True, kw_only=True)
class Fault:
    """Something to go wrong with the next requests that match."""

    method: str = ""
    path: str = ""
    """A part of the path; empty: any."""
    times: int = 1
    delay: float = 0.0
    lose_request: bool = False
    lose_answer: bool = False
    """The request is carried out, but nobody hears of it."""
    status: int = 0
    text: str = ""

    def matches(self, method: str, path: str) -> bool:
        """Whether it hits this request."""
        return self.times > 0 and self.method in ("", method) and self.path in path


@dataclass(slots=True)
class FakeJob:
    """A stored job: its wire form, and what will become of it."""

    spec: Json
    fate: Fate | None
    executions: list[Json] = field(default_factory=list)
    stranded: bool = False

    @property
    def id(self) -> str:
        """The server's ID."""
        return str(self.spec["ID"])

    @property
    def state(self) -> JobState:
        """The job's state."""
        return JobState(self.spec["State"]["StateType"])


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: a status, and a JSON value or plain text."""

    status: int
    content: Json | str

    def body(self) -> bytes:
        """The bytes that travel."""
        return (self.content if isinstance(self.content, str) else json.dumps(self.content)).encode()


class ConnectionLost(Exception):
    """The client hears nothing."""


class FakeBacalhau:
    """The server. ``url`` is set while it is served on a socket."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        script: Callable[[Json], Fate | None] = lambda job: None,
        auth: Bearer | Basic | None = None,
    ) -> None:
        self.jobs: dict[str, FakeJob] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.url = "http://bacalhau.test:1234"
        self.down = False
        self._names: dict[tuple[str, str], str] = {}
        self._events: list[tuple[float, str]] = []
        self._clock = clock
        self._script = script
        self._auth = auth
        self._connected_since = clock()

    # What tests do to it

    def fault(self, **how: Any) -> None:
        """Queue a fault; the arguments are those of ``Fault``."""
        self.faults.append(Fault(**how))

    def job(self, name: str) -> FakeJob:
        """The job of this name, in whatever namespace."""
        return next(job for job in self.jobs.values() if job.spec["Name"] == name)

    def queue(self, name: str, *, failed_executions: tuple[str, ...] = ()) -> None:
        """No node has room for the job; executions with these messages have failed already."""
        job = self.job(name)
        for message in failed_executions:
            self._execution(job, ComputeState.FAILED, message)
        if job.state is not JobState.QUEUED:
            self._set_state(job, JobState.QUEUED, "not enough nodes to run job")

    def start(self, name: str) -> None:
        """A node runs the job."""
        self._start(self.job(name))

    def complete(self, name: str, **outcome: Any) -> None:
        """The job's program ends; the arguments are those of ``Fate``."""
        self._end(self.job(name), Fate(**outcome))

    def leave_unconcluded(self, name: str) -> None:
        """The job's program ends, and the orchestrator is killed before it concludes anything from that."""
        job = self.job(name)
        self._complete(job, Fate())

    def fail(self, name: str, message: str = "memory limit exceeded") -> None:
        """The job fails for a reason of the platform."""
        self._end(self.job(name), Fate(failure=message))

    def lose(self, name: str) -> None:
        """The orchestrator forgets the job."""
        job = self.job(name)
        del self.jobs[job.id], self._names[job.spec["Namespace"], name]

    def accept(self, auth: Bearer | Basic) -> None:
        """Let in only those with these credentials from now on."""
        self._auth = auth

    def restart(self) -> None:
        """The orchestrator restarts: nothing looks any more at what waited."""
        self._advance()
        for job in self.jobs.values():
            job.stranded = job.state in (JobState.PENDING, JobState.QUEUED)
        self._connected_since = self._clock()

    # How clients reach it

    def channel(self, **options: Any) -> Channel:
        """A channel to the server without a socket."""
        endpoint = Endpoint(url=self.url, auth=self._auth)
        return Channel(endpoint, transport=httpx.MockTransport(self._over_httpx), **options)

    def client(self, **options: Any) -> BacalhauClient:
        """A client of the server without a socket."""
        return BacalhauClient(self.channel(**options))

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["FakeBacalhau"]:
        """Listen on a free port of the loopback interface; ``url`` says which."""
        app = web.Application(client_max_size=2 * MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._over_aiohttp)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _over_httpx(self, request: httpx.Request) -> httpx.Response:
        try:
            reply = await self.handle(
                request.method, str(request.url), headers=request.headers, body=request.content
            )
        except ConnectionLost as error:
            raise httpx.ReadError("connection reset by peer") from error
        return httpx.Response(reply.status, content=reply.body())

    async def _over_aiohttp(self, request: web.Request) -> web.Response:
        try:
            reply = await self.handle(
                request.method, str(request.url), headers=request.headers, body=await request.read()
            )
        except ConnectionLost:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        kind = "text/plain" if isinstance(reply.content, str) else "application/json"
        return web.Response(status=reply.status, body=reply.body(), content_type=kind)

    async def handle(self, method: str, url: str, *, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer a request, faults included.

        Raises:
            ConnectionLost: the client is to hear nothing.
        """
        path = unquote(urlsplit(url).path)
        self.requests.append((method, path))
        self.bodies.append(body)
        fault = next((fault for fault in self.faults if fault.matches(method, path)), Fault())
        fault.times -= 1
        await asyncio.sleep(fault.delay)
        if self.down or fault.lose_request:
            raise ConnectionLost
        if fault.status:
            return Reply(fault.status, fault.text)
        reply = self._answer(method, path, headers=headers, query=parse_qs(urlsplit(url).query), body=body)
        if fault.lose_answer:
            raise ConnectionLost
        return reply

    # What it answers

    def _answer(
        self, method: str, path: str, *, headers: Mapping[str, str], query: dict[str, list[str]], body: bytes
    ) -> Reply:
        self._advance()
        one = {key: values[-1] for key, values in query.items()}
        job_ref = path.removeprefix(JOBS + "/") if path.startswith(JOBS + "/") else ""
        match method, path:
            case "GET", "/api/v1/agent/alive":
                return Reply(200, {"Status": "OK"})
            case "GET", "/api/v1/agent/version":
                return Reply(200, {"Major": "1", "Minor": "9", "GitVersion": "v1.9.3"})
            case _ if self._auth is not None and headers.get("Authorization") != self._auth.header():
                return _error(401, "Request Unauthorized", code="Unauthorized", component="Authorizer")
            case "GET", "/api/v1/orchestrator/nodes":
                return Reply(200, {"NextToken": "", "Nodes": [self._node()]})
            case "PUT" | "POST", "/api/v1/orchestrator/jobs":
                return self._submit(body)
            case "GET", "/api/v1/orchestrator/jobs":
                return self._list(one)
            case "GET", _ if job_ref:
                return self._get(job_ref, one)
            case "DELETE", _ if job_ref:
                return self._stop(job_ref, one, body)
            case _:
                return _error(404, "The requested resource/URL was not found.", code="NotFound")

    def _submit(self, body: bytes) -> Reply:
        if len(body) > MAX_BODY_BYTES:
            return _error(413, "Request Entity Too Large", code="InternalError")
        spec = _normalised(json.loads(body)["Job"])
        if problem := _invalid(spec):
            return _error(400, problem, code="InternalError")
        known = self._names.get((spec["Namespace"], spec["Name"]))
        return self._update(self.jobs[known], spec) if known else self._create(spec)

    def _create(self, spec: Json) -> Reply:
        now = self._nanoseconds()
        spec["ID"] = f"j-{uuid.uuid4()}"
        spec["Name"] = spec["Name"] or spec["ID"]
        spec |= {"Version": 1, "Revision": 1, "CreateTime": now, "ModifyTime": now}
        spec["State"] = {"StateType": "Pending", "Message": ""}
        self.jobs[spec["ID"]] = FakeJob(spec, self._script(spec))
        self._names[spec["Namespace"], spec["Name"]] = spec["ID"]
        self._foresee(self.jobs[spec["ID"]])
        return _submitted(spec)

    def _update(self, job: FakeJob, spec: Json) -> Reply:
        if _compared(spec) == _compared(job.spec):
            message = f"no changes detected for new job spec. Job Name: '{spec['Name']}', Job Id: '{job.id}'"
            return _error(500, message, component="Bacalhau")
        for execution in job.executions:
            if not ComputeState(execution["ComputeState"]["StateType"]).is_terminal:
                execution["ComputeState"]["StateType"] = ComputeState.CANCELLED
        for key in ("Priority", "Count", "Constraints", "Meta", "Labels", "Tasks"):
            job.spec[key] = spec[key]
        job.spec["Version"] += 1
        self._set_state(job, JobState.PENDING, "Job update requested by user")
        job.fate = self._script(job.spec)
        self._foresee(job)
        return _submitted(job.spec)

    def _get(self, ref: str, query: Mapping[str, str]) -> Reply:
        job = self._find(ref, query.get("namespace", ""))
        if isinstance(job, Reply):
            return job
        answer: Json = {"Job": job.spec}
        if "executions" in query.get("include", ""):
            items = [execution | {"Job": job.spec} for execution in job.executions]
            answer["Executions"] = {"NextToken": "", "Items": items}
        return Reply(200, copy.deepcopy(answer))

    def _find(self, ref: str, namespace: str) -> FakeJob | Reply:
        if job_id := self._names.get((namespace or "default", ref)):
            return self.jobs[job_id]
        hits = [job for job in self.jobs.values() if job.id.startswith(ref)]
        match hits:
            case [job]:
                return job
            case []:
                return _error(404, f"job not found: {ref}", code="NotFound", component="JobStore")
            case _:
                return _error(
                    500, f"multiple jobs found for {ref}", code="MultipleJobsFound", component="JobStore"
                )

    def _list(self, query: Mapping[str, str]) -> Reply:
        fields = {"created_at": "CreateTime", "modified_at": "ModifyTime"}
        namespace = query.get("namespace", "*")
        offset, limit = 0, int(query.get("limit") or 0)
        order, reverse = query.get("order_by", "created_at"), query.get("reverse") == "true"
        if token := query.get("next_token"):
            order, direction, page, start = _decoded(token)
            reverse, limit, offset = direction == "Y", int(page), int(start)
        if order not in fields:
            return _error(500, "Internal server error", code="InternalError", component="Unknown")
        jobs = [job.spec for job in self.jobs.values() if namespace in ("*", job.spec["Namespace"])]
        jobs.sort(key=lambda spec: spec[fields[order]], reverse=reverse)
        end = offset + limit if limit else len(jobs)
        more = end < len(jobs)
        following = _encoded(f"{order}:{'Y' if reverse else 'N'}:{limit}:{end}") if more else ""
        return Reply(200, {"NextToken": following, "Items": copy.deepcopy(jobs[offset:end])})

    def _stop(self, ref: str, query: Mapping[str, str], body: bytes) -> Reply:
        job = self._find(ref, query.get("namespace", ""))
        if isinstance(job, Reply):
            return job
        if job.state is JobState.STOPPED:
            return Reply(200, {"EvaluationID": ""})
        if job.state is JobState.COMPLETED:
            return _error(500, "cannot stop job in state Completed", component="Bacalhau")
        if job.state is JobState.FAILED:
            return _error(
                500, "job in state Failed cannot change", code="ConflictJobState", component="JobStore"
            )
        for execution in job.executions:
            if not ComputeState(execution["ComputeState"]["StateType"]).is_terminal:
                execution["ComputeState"]["StateType"] = ComputeState.CANCELLED
        self._set_state(job, JobState.STOPPED, json.loads(body or b"{}").get("reason", ""))
        return Reply(200, {"EvaluationID": str(uuid.uuid4())})

    def _node(self) -> Json:
        since = datetime.fromtimestamp(self._connected_since, UTC).isoformat().replace("+00:00", "Z")
        capacity = {"CPU": 1.6, "Memory": 8_000_000_000, "Disk": 100_000_000_000, "GPU": 0}
        return {
            "Info": {"NodeID": "n-1", "NodeType": "Compute", "ComputeNodeInfo": {"MaxCapacity": capacity}},
            "Membership": "APPROVED",
            "Connection": "CONNECTED",
            "ConnectionState": {"Status": "CONNECTED", "ConnectedSince": since, "LastHeartbeat": since},
        }

    # What time does to jobs

    def _foresee(self, job: FakeJob) -> None:
        if job.fate is not None:
            heapq.heappush(self._events, (job.spec["CreateTime"] / 1e9 + job.fate.starts_after, job.id))

    def _advance(self) -> None:
        while self._events and self._events[0][0] <= self._clock():
            _, job_id = heapq.heappop(self._events)
            job = self.jobs.get(job_id)
            if job is not None and job.fate is not None and not job.stranded and not job.state.is_terminal:
                self._advance_job(job, job.fate)

    def _advance_job(self, job: FakeJob, fate: Fate) -> None:
        if job.state is not JobState.RUNNING:
            self._start(job)
        if fate.ends_after is None:
            return
        ends = job.spec["CreateTime"] / 1e9 + fate.ends_after
        if ends <= self._clock():
            self._end(job, fate)
        else:
            heapq.heappush(self._events, (ends, job.id))

    def _start(self, job: FakeJob) -> None:
        self._execution(job, ComputeState.BID_ACCEPTED, "")
        self._set_state(job, JobState.RUNNING, "")

    def _end(self, job: FakeJob, fate: Fate) -> None:
        if job.state is not JobState.RUNNING:
            self._start(job)
        execution = job.executions[-1]
        execution["ModifyTime"] = self._nanoseconds()
        if fate.failure is not None:
            execution["ComputeState"] = {"StateType": ComputeState.FAILED, "Message": fate.failure}
            self._set_state(
                job, JobState.FAILED, "not enough nodes to run job. requested: 1, available: 1, suitable: 0."
            )
            return
        self._complete(job, fate)
        self._set_state(job, JobState.COMPLETED, "")

    def _complete(self, job: FakeJob, fate: Fate) -> None:
        execution = job.executions[-1]
        execution["ModifyTime"] = self._nanoseconds()
        execution["ComputeState"] = {"StateType": ComputeState.COMPLETED, "Message": "Running"}
        execution["PublishedResult"] = fate.result or _default_result(job)
        execution["RunOutput"] |= {"Stdout": fate.stdout, "stderr": fate.stderr, "ExitCode": fate.exit_code}

    def _execution(self, job: FakeJob, state: ComputeState, message: str) -> None:
        now = self._nanoseconds()
        output = {"Stdout": "", "StdoutTruncated": False, "stderr": "", "StderrTruncated": False}
        job.executions.append(
            {
                "ID": f"e-{uuid.uuid4()}",
                "Namespace": job.spec["Namespace"],
                "NodeID": "n-1",
                "JobID": job.id,
                "JobVersion": job.spec["Version"],
                "DesiredState": {"StateType": 1, "Message": ""},
                "ComputeState": {"StateType": state, "Message": message},
                "PublishedResult": {"Type": ""},
                "RunOutput": output | {"ExitCode": 0, "ErrorMsg": ""},
                "Revision": 1,
                "CreateTime": now,
                "ModifyTime": now,
            }
        )

    def _set_state(self, job: FakeJob, state: JobState, message: str) -> None:
        job.spec["State"] = {"StateType": str(state), "Message": message}
        job.spec["Revision"] += 1
        job.spec["ModifyTime"] = self._nanoseconds()

    def _nanoseconds(self) -> int:
        return int(self._clock() * 1e9)


def _error(status: int, message: str, *, code: str = "", component: str = "APIServer") -> Reply:
    return Reply(
        status,
        {"Status": status, "Message": message, "RequestID": "", "Code": code, "Component": component},
    )


def _submitted(spec: Json) -> Reply:
    return Reply(200, {"JobID": spec["ID"], "EvaluationID": str(uuid.uuid4()), "Warnings": None})


def _normalised(job: Json) -> Json:
    """A job as the server keeps it."""
    spec = {key: value for key, value in job.items() if key not in ("ID", "State", "Version", "Revision")}
    defaults: Json = {"Name": "", "Type": "", "Priority": 0, "Count": 1, "Constraints": []}
    spec = defaults | spec
    spec["Namespace"] = spec.get("Namespace") or "default"
    spec["Labels"] = spec.get("Labels") or {}
    meta = spec.get("Meta") or {}
    spec["Meta"] = {key: value for key, value in meta.items() if not key.startswith(RESERVED)}
    spec["Meta"][RESERVED + "orchestrator.id"] = "n-1"
    spec["Tasks"] = (spec.get("Tasks") or [])[:1]
    return copy.deepcopy(spec)


def _invalid(spec: Json) -> str:
    if spec["Type"] not in ("batch", "ops", "daemon", "service"):
        return f"invalid job type: {spec['Type']}"
    if not spec["Tasks"]:
        return "job must have at least one task"
    task = spec["Tasks"][0]
    if task.get("ResultPaths") and not task.get("Publisher", {}).get("Type"):
        return "publisher must be set if result paths are set"
    return ""


def _compared(spec: Json) -> Json:
    """The part of a job that tells an update from a repetition."""
    ignored = ("ID", "State", "Version", "Revision", "CreateTime", "ModifyTime")
    kept = {key: value for key, value in spec.items() if key not in ignored}
    kept["Meta"] = {key: value for key, value in spec["Meta"].items() if not key.startswith(RESERVED)}
    return kept


def _default_result(job: FakeJob) -> Json:
    if job.spec["Tasks"][0].get("Publisher", {}).get("Type") != "ipfs":
        return {"Type": ""}
    digest = uuid.UUID(job.id.removeprefix("j-")).bytes * 2
    cid = "b" + base64.b32encode(b"\x01\x70\x12\x20" + digest).decode().rstrip("=").lower()
    return {"Type": "ipfs", "Params": {"CID": cid}}


def _encoded(token: str) -> str:
    return base64.urlsafe_b64encode(token.encode()).decode()


def _decoded(token: str) -> list[str]:
    return base64.urlsafe_b64decode(token).decode().split(":")

"""The operator, Bacalhau and the API server are killed while DAGs run, and every DAG ends as if nothing had happened.

What counts at the end is Bacalhau's own list of jobs: one for each attempt of each node, each submitted once.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.api.bacalhau import JobState
from controller.api.dag import BacalhauDAG
from controller.api.status import NodePhase, RunPhase
from dev.plane import ControlPlane
from dev.servers.bacalhau import BacalhauOptions
from dev.servers.controller import Controller
from dev.servers.process import Server, ServerError
from tests.support.controller import running_controller
from tests.support.dags import Edges, Manifest, heirs, legacy, manifest, step
from tests.support.interposer import Interposer, Moment
from tests.support.workspace import Workspace, attempts, cid, in_phase, status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

KILLS = 30
AT_ONCE = 4
"""DAGs that run at the same time while the operator is being killed."""

SHAPES: list[Edges] = [
    {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]},
    {f"n{number}": [f"n{number - 1}"] if number else [] for number in range(6)},
    {
        "split": [],
        **{f"w{number}": ["split"] for number in range(8)},
        "join": [f"w{number}" for number in range(8)],
    },
    {"left": [], "right": [], "both": ["left", "right"], "after": ["both"]},
]

_numbers = itertools.count(1)


@pytest.fixture
def chance() -> random.Random:
    """Chance that can be repeated: set CRASH_SEED to the number that a failure shows."""
    seed = int(os.environ.get("CRASH_SEED") or random.randrange(10**6))
    print(f"CRASH_SEED={seed}")
    return random.Random(seed)


@pytest.fixture
def workspace(own_plane: ControlPlane) -> Workspace:
    """A namespace on a plane whose servers may be killed; the operator is started by each test."""
    workspace = Workspace(own_plane, f"crash-{next(_numbers)}")
    workspace.kubectl("create", "namespace", workspace.namespace)
    workspace.connect()
    return workspace


@pytest.fixture
def operator(own_plane: ControlPlane, tmp_path: Path) -> Iterator[Controller]:
    """An operator that soon gives up on the jobs of deleted DAGs."""
    with running_controller(own_plane, tmp_path, deletion_grace_seconds="3") as operator:
        yield operator


async def test_the_operator_may_be_killed_at_any_moment(
    own_plane: ControlPlane, workspace: Workspace, tmp_path: Path, chance: random.Random
) -> None:
    interposer = Interposer(own_plane.bacalhau.url)
    workspace.connect(endpoint=interposer.url)
    # Without the Lease, which a process that is killed keeps for 15 seconds more.
    with running_controller(own_plane, tmp_path, lease_enabled="false") as operator:
        async with interposer.serving(), asyncio.TaskGroup() as group:
            enough = asyncio.Event()
            runs = [group.create_task(run_dags(workspace, enough)) for _ in range(AT_ONCE)]
            await kill_often(operator, interposer, chance)
            enough.set()

    for edges, dag in (ended for run in runs for ended in run.result()):
        assert_each_job_was_submitted_once(workspace, dag, edges)


async def run_dags(workspace: Workspace, enough: asyncio.Event) -> list[tuple[Edges, BacalhauDAG]]:
    """Run DAGs one after another until it is enough; what they are, and how they ended."""
    ended: list[tuple[Edges, BacalhauDAG]] = []
    while not enough.is_set():
        number = next(_numbers)
        name, edges = f"dag-{number}", SHAPES[number % len(SHAPES)]
        await asyncio.to_thread(workspace.apply, manifest(name, *heirs(edges)))
        ended.append((edges, await workspace.succeeded(name)))
    return ended


def assert_each_job_was_submitted_once(workspace: Workspace, dag: BacalhauDAG, edges: Edges) -> None:
    jobs = workspace.jobs(dag)
    assert attempts(jobs) == [(name, 1) for name in sorted(edges)]
    assert {(job.version, job.state) for job in jobs} == {(1, JobState.COMPLETED)}
    assert {job.id for job in jobs} == {node.job_id for node in status(dag).nodes.values()}
    result = workspace.plane.ipfs.read_directory(cid(dag))
    assert {f"outputs/{name}" for name in legacy(list(edges)[-1], edges)} <= result.keys()


async def test_waits_go_on_where_they_were_when_the_operator_is_killed(
    own_plane: ControlPlane, workspace: Workspace, tmp_path: Path
) -> None:
    def failing(name: str, wait: str) -> Manifest:
        return step(name, "exit", "9", retry={"limit": 1, "backoff": {"duration": wait}})

    gate = {"name": "gate", "suspend": {"timeout": "1h"}}
    nodes = [failing("brisk", "8s"), failing("patient", "1h"), gate, step("after", dependencies=["gate"])]
    workspace.apply(manifest("waiting", *nodes, failurePolicy="RunAll", outputs=[]))
    workspace.apply(manifest("held", step("a"), suspend=True))
    with running_controller(own_plane, tmp_path, lease_enabled="false") as operator:
        before = await workspace.until("waiting", everything_waits)
        await workspace.until("held", lambda dag: status(dag).phase is RunPhase.SUSPENDED)
        operator.kill()
        await asyncio.to_thread(operator.start)

        await workspace.patch("held", suspend=False)
        await workspace.succeeded("held")
        await workspace.patch("waiting", approvals=[{"name": "gate"}])
        dag = await workspace.until("waiting", lambda dag: in_phase(dag, NodePhase.FAILED) == ["brisk"])

        was, now = status(before).nodes, status(dag).nodes
        assert now["patient"].phase is NodePhase.PENDING
        assert now["patient"].retry_at == was["patient"].retry_at
        assert now["gate"].started_at == was["gate"].started_at
        assert str(now["brisk"].started_at) >= str(was["brisk"].retry_at)
        assert now["after"].phase is NodePhase.SUCCEEDED
        await workspace.patch("waiting", shutdown="Cancel")
        ended = await workspace.ended("waiting")
    assert attempts(workspace.jobs(ended)) == [("after", 1), ("brisk", 1), ("brisk", 2), ("patient", 1)]


def everything_waits(dag: BacalhauDAG) -> bool:
    """Whether both nodes that failed wait for their next attempt, and the approval for somebody."""
    nodes = status(dag).nodes
    waiting = [name for name, node in nodes.items() if node.retry_at]
    return sorted(waiting) == ["brisk", "patient"] and in_phase(dag, NodePhase.SUSPENDED) == ["gate"]


# How the operator dies


@dataclass(frozen=True, kw_only=True)
class Fate:
    """When one life of the operator ends: at the `count`-th such moment, and some seconds later.

    Without a moment it ends so many seconds after it has begun to watch, often before it has found its runs again.
    A request that has not arrived by then arrives `lag` seconds late, when the next operator may be at work.
    """

    moment: Moment | None
    count: int = 1
    delay: float = 0.0
    lag: float = 0.0


def fate(chance: random.Random) -> Fate:
    """Mostly around a submission, or while looking at jobs; sometimes right after the start."""
    match chance.choice(["submission", "submission", "answer", "answer", "status", "look", "start"]):
        case "submission":
            lag = chance.uniform(0, 3)
            return Fate(moment=Moment("PUT", "before it arrives"), count=chance.randint(1, 3), lag=lag)
        case "answer":
            return Fate(moment=Moment("PUT", "before its answer"), count=chance.randint(1, 3))
        case "status":
            moment = Moment("PUT", "before its answer")
            return Fate(moment=moment, count=chance.randint(1, 3), delay=chance.uniform(0, 0.2))
        case "look":
            return Fate(moment=Moment("GET", "before its answer"), count=chance.randint(1, 20))
        case _:
            return Fate(moment=None, delay=chance.uniform(0, 0.5))


async def kill_often(operator: Controller, interposer: Interposer, chance: random.Random) -> None:
    """Let the operator live and die, and live on in the end."""
    for _ in range(KILLS):
        life = Life(operator, fate(chance))
        interposer.on_moment = life.on_moment
        await life.live()
    await asyncio.to_thread(operator.start)


class Life:
    """One process of the operator, from its start to its death."""

    LONGEST = 20.0

    def __init__(self, operator: Controller, fate: Fate) -> None:
        self._operator = operator
        self._fate = fate
        self._left = fate.count
        self._over = asyncio.Event()

    async def live(self) -> None:
        """Start the process and wait until it is dead. It also dies if its moment does not come."""
        start = asyncio.create_task(asyncio.to_thread(self._start))
        if self._fate.moment is None:
            await start
            await asyncio.sleep(self._fate.delay)
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), self.LONGEST)
        self._operator.kill()
        await start

    async def on_moment(self, moment: Moment) -> None:
        """See whether this is the moment, and die of it."""
        if moment != self._fate.moment:
            return
        self._left -= 1
        if self._left:
            return
        await asyncio.sleep(self._fate.delay)
        self._operator.kill()
        self._over.set()
        await asyncio.sleep(self._fate.lag)

    def _start(self) -> None:
        with suppress(ServerError):  # killed before it was ready
            self._operator.start()


# Whose servers die


@pytest.mark.usefixtures("operator")
async def test_bacalhau_may_be_killed_at_any_moment(workspace: Workspace, chance: random.Random) -> None:
    long = [f"n{number}" for number in range(9)]
    chain = [
        step(name, "sleep", "100", inputs=long[max(number - 1, 0) : number])
        for number, name in enumerate(long)
    ]
    wide = [step(f"w{number}", "sleep", str(chance.randint(50, 800))) for number in range(12)]
    workspace.apply(manifest("chain", *chain), manifest("wide", *wide))

    for done in sorted(chance.sample(range(1, 8), 3)):
        await workspace.until("chain", has_done(done))
        await crash(workspace.plane.bacalhau)

    for name in ("chain", "wide"):
        jobs = workspace.jobs(await workspace.succeeded(name))
        assert len(set(attempts(jobs))) == len(jobs)
        assert {job.version for job in jobs} == {1}


@pytest.mark.usefixtures("operator")
async def test_jobs_that_bacalhau_forgot_in_its_queue_are_replaced(workspace: Workspace) -> None:
    """Jobs that no node has room for when the orchestrator is killed stay Queued for ever: it does not look at them again."""
    plane = workspace.plane
    orchestrator = plane.start_bacalhau("orchestrator", BacalhauOptions(compute=False))
    workspace.connect(endpoint=orchestrator.url)
    edges: Edges = {"a": [], "b": [], "c": ["a", "b"]}
    workspace.apply(manifest("queued", *heirs(edges)))
    await workspace.until("queued", lambda dag: len(in_phase(dag, NodePhase.QUEUED)) == 2)

    await crash(orchestrator)
    joining = BacalhauOptions(orchestrator=False, joins=orchestrator)
    await asyncio.to_thread(plane.start_bacalhau, "compute", joining)

    dag = await workspace.succeeded("queued", within=100)  # their QueueTimeout is an hour
    jobs = workspace.jobs(dag, server=orchestrator)
    assert attempts(jobs) == [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)]
    assert {job.version for job in jobs} == {1}
    replaced = [job for job in jobs if job.state is JobState.STOPPED]
    assert sorted(attempts(replaced)) == [("a", 1), ("b", 1)]
    assert all("was queued when the Bacalhau orchestrator restarted" in job.state_message for job in replaced)


@pytest.mark.usefixtures("operator")
async def test_the_api_server_may_be_killed_at_any_moment(
    workspace: Workspace, chance: random.Random
) -> None:
    names = [f"n{number}" for number in range(9)]
    edges = {name: names[max(number - 1, 0) : number] for number, name in enumerate(names)}
    workspace.apply(manifest("chain", *heirs(edges)))

    for done in sorted(chance.sample(range(1, 8), 2)):
        await workspace.until("chain", has_done(done))
        await crash(workspace.plane.kubernetes)

    assert_each_job_was_submitted_once(workspace, await workspace.succeeded("chain"), edges)


@pytest.mark.usefixtures("operator")
async def test_a_dag_that_is_deleted_while_bacalhau_is_down_is_let_go(workspace: Workspace) -> None:
    workspace.apply(manifest("stuck", step("slow", "sleep", "600000")))
    dag = await workspace.until("stuck", lambda dag: in_phase(dag, NodePhase.RUNNING) == ["slow"])
    workspace.plane.bacalhau.kill()

    workspace.kubectl("delete", "bdag", "stuck", "--timeout=60s")

    message = await workspace.event("JobsNotStopped", about="stuck")
    assert "Bacalhau did not confirm within 3 s that the jobs have stopped; some may still run" in message
    assert f"bacalhau job list --namespace {status(dag).bacalhau_namespace}" in message
    await asyncio.to_thread(workspace.plane.bacalhau.start)


async def crash(server: Server) -> None:
    """Kill a server and start it again."""
    server.kill()
    await asyncio.to_thread(server.start)


def has_done(count: int) -> Callable[[BacalhauDAG], bool]:
    """Whether at least so many nodes of a DAG have succeeded."""
    return lambda dag: len(in_phase(dag, NodePhase.SUCCEEDED)) >= count

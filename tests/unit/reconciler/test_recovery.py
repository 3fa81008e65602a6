"""What a new process learns of a run from its jobs."""

import asyncio
from typing import Any

import pytest

from controller.api.bacalhau import JobState
from controller.api.status import DAGStatus
from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.errors import Unavailable
from controller.engine import Graph, JobSeen, Run
from controller.engine.identity import ATTEMPT_LABEL, ITEM_LABEL, NODE_LABEL, UID_LABEL
from controller.reconciler.recovery import MAX_LOOKUPS, recover
from tests.support.bacalhau_jobs import a_job
from tests.support.builders import CONTEXT, dag, node
from tests.support.fake_bacalhau import FakeBacalhau

pytestmark = pytest.mark.looptime

SPEC = dag(node("a"), node("b", reads=["a"]))


class Lab:
    """A Bacalhau with jobs of a run."""

    def __init__(self) -> None:
        self.bacalhau = FakeBacalhau()
        self.client = BacalhauClient(self.bacalhau.channel())

    async def submit(
        self, node: str, attempt: str = "1", *, uid: str = CONTEXT.uid, item: str | None = None
    ) -> str:
        """Submit the job of an attempt; returns its ID."""
        meta = {NODE_LABEL: node, ATTEMPT_LABEL: attempt, UID_LABEL: uid}
        meta |= {} if item is None else {ITEM_LABEL: item}
        name = f"{node}-{len(self.bacalhau.jobs)}"
        return await self.client.submit(a_job(name, namespace=CONTEXT.bacalhau_namespace, Meta=meta))

    async def found(self, status: dict[str, Any] | None = None) -> dict[str, JobSeen]:
        """What a process that knows this status of nodes recovers, by node."""
        known = DAGStatus.model_validate({"nodes": status}) if status else None
        recovered = await recover(Run(Graph.compile(SPEC), CONTEXT, known), self.client)
        return {seen.node: seen for seen in recovered.sightings}


@pytest.fixture
def lab() -> Lab:
    return Lab()


async def test_nothing_is_found_of_a_run_without_jobs(lab: Lab) -> None:
    assert await lab.found() == {}


async def test_of_several_attempts_the_newest_counts(lab: Lab) -> None:
    await lab.submit("a", "2")
    newest = await lab.submit("a", "10")
    await lab.submit("a", "9")
    seen = (await lab.found())["a"]
    assert (seen.attempt, seen.sighting.job.id) == (10, newest)


async def test_an_attempt_older_than_the_status_is_no_news(lab: Lab) -> None:
    await lab.submit("a", "1")
    assert await lab.found({"a": {"phase": "Running", "attempt": 2, "jobID": "j-lost"}}) == {}


async def test_a_job_that_has_ended_comes_with_its_executions(lab: Lab) -> None:
    await lab.submit("a")
    lab.bacalhau.complete("a-0", stdout="seven")
    job = (await lab.found())["a"].sighting.job
    assert job.state is JobState.COMPLETED
    assert job.executions is not None
    assert job.executions[0].run_output is not None
    assert job.executions[0].run_output.stdout == "seven"


async def test_unfinished_jobs_are_told_apart(lab: Lab) -> None:
    await lab.submit("a")
    await lab.submit("b")
    lab.bacalhau.complete("a-0")
    recovered = await recover(Run(Graph.compile(SPEC), CONTEXT), lab.client)
    assert [seen.node for seen in recovered.unfinished] == ["b"]
    assert len(recovered.sightings) == 2


@pytest.mark.parametrize("attempt", ["", "0", "-1", "one", "1.0", "٣", "9" * 5000, " 1"])
async def test_labels_that_are_garbage_are_not_ours(lab: Lab, attempt: str) -> None:
    await lab.submit("a", attempt)
    assert await lab.found() == {}


async def test_jobs_of_another_dag_are_left_alone(lab: Lab) -> None:
    await lab.submit("a", uid="6f1c0c6e-0000-4000-8000-000000000002")
    assert await lab.found() == {}


async def test_jobs_without_any_label_are_left_alone(lab: Lab) -> None:
    await lab.client.submit(a_job("x", namespace=CONTEXT.bacalhau_namespace))
    assert await lab.found() == {}


async def test_jobs_of_nodes_that_the_graph_does_not_have_are_left_alone(lab: Lab) -> None:
    await lab.submit("stranger")
    assert await lab.found() == {}


async def test_items_are_found_before_anything_is_known_of_their_fan_out(lab: Lab) -> None:
    fan_out = node("w", forEach={"range": {"count": 3}})
    for item in ("0", "2", "2500", "x"):
        await lab.submit("w", item=item)
    await lab.submit("w")
    await lab.submit("a", item="0")
    recovered = await recover(Run(Graph.compile(dag(node("a"), fan_out)), CONTEXT), lab.client)
    assert [seen.node for seen in recovered.sightings] == ["w[0]", "w[2]"]


async def test_nodes_that_have_ended_are_not_looked_up(lab: Lab) -> None:
    job_id = await lab.submit("b")
    lab.bacalhau.complete("b-0")
    lab.bacalhau.requests.clear()
    assert await lab.found({"b": {"phase": "Failed", "attempt": 1, "jobID": job_id}}) == {}
    assert len(lab.bacalhau.requests) == 1


async def test_what_a_finished_job_printed_is_recalled_for_those_who_read_it(lab: Lab) -> None:
    job_id = await lab.submit("a")
    lab.bacalhau.complete("a-0", stdout="seven")
    status = {"a": {"phase": "Succeeded", "attempt": 1, "jobID": job_id}}
    assert (await lab.found(status))["a"].sighting.job.executions is not None
    status["b"] = {"phase": "Succeeded", "attempt": 1, "jobID": "j-b"}
    assert await lab.found(status) == {}, "b has ended, and nobody else reads it"


async def test_one_failure_ends_all_look_ups(lab: Lab) -> None:
    spec = dag(*(node(f"n{number}") for number in range(4 * MAX_LOOKUPS)))
    for item in spec.nodes:
        await lab.submit(item.name)
    for job in list(lab.bacalhau.jobs.values()):
        lab.bacalhau.complete(job.spec["Name"])
    lab.bacalhau.requests.clear()
    lab.bacalhau.fault(path="/jobs/", status=503, times=1000)
    tasks = asyncio.all_tasks()
    with pytest.raises(Unavailable):
        await recover(Run(Graph.compile(spec), CONTEXT), lab.client)
    assert asyncio.all_tasks() == tasks
    assert len(lab.bacalhau.requests) <= 1 + 3 * MAX_LOOKUPS

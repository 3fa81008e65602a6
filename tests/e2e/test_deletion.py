"""Deleting a DAG stops its jobs and then lets it go, whatever else is deleted with it."""

from __future__ import annotations

import pytest

from controller.api.bacalhau import JobState
from controller.api.status import NodePhase, RunPhase
from dev.plane import ControlPlane
from tests.support.dags import manifest, step
from tests.support.workspace import Workspace, in_phase, status

pytestmark = pytest.mark.e2e

SLOW = ("sleep", "60000")
"""Longer than a test here takes: what does this ends by being stopped. Not much longer: a WebAssembly program that is stopped in its
sleep goes on holding its place on the node."""


async def test_a_deleted_dag_leaves_no_job_running(workspace: Workspace) -> None:
    workspace.apply(manifest("unwanted", step("a", *SLOW), step("b", *SLOW), step("c", inputs=["a", "b"])))
    running = await workspace.until("unwanted", lambda dag: len(in_phase(dag, NodePhase.RUNNING)) == 2)

    workspace.kubectl("delete", "bdag", "unwanted", "--timeout=60s")

    jobs = workspace.jobs(running)
    assert [job.state for job in jobs] == [JobState.STOPPED] * 2
    assert {job.state_message for job in jobs} == {"Cancelled: the DAG is being deleted"}


async def test_a_dag_that_is_deleted_at_once_leaves_no_job_running(workspace: Workspace) -> None:
    """Between the finalizer and the answer to the first submission, or wherever the deletion happens to hit."""
    workspace.apply(manifest("regretted", *(step(f"n{number}", *SLOW) for number in range(8))))
    begun = await workspace.until("regretted", lambda dag: status(dag).bacalhau_namespace is not None)

    workspace.kubectl("delete", "bdag", "regretted", "--timeout=60s")

    assert [job.state for job in workspace.jobs(begun) if not job.state.is_terminal] == []


async def test_a_dag_that_has_ended_is_held_by_nothing(workspace: Workspace) -> None:
    workspace.apply(manifest("finished", step("only")))
    await workspace.succeeded("finished")
    await workspace.until("finished", lambda dag: not dag.metadata.finalizers)


async def test_a_dag_that_never_began_is_deleted_at_once(workspace: Workspace) -> None:
    workspace.apply(manifest("waiting", step("only"), connectionRef={"name": "missing"}))
    waiting = await workspace.until("waiting", lambda dag: status(dag).phase is RunPhase.PENDING)
    assert waiting.metadata.finalizers == ()

    workspace.kubectl("delete", "bdag", "waiting", "--timeout=60s")


@pytest.mark.usefixtures("controller")
async def test_a_namespace_with_a_running_dag_and_its_connection_can_be_deleted(plane: ControlPlane) -> None:
    workspace = Workspace(plane, "doomed")
    workspace.kubectl("create", "namespace", "doomed")
    workspace.connect()
    workspace.apply(manifest("doomed", step("slow", *SLOW)))
    running = await workspace.until("doomed", lambda dag: in_phase(dag, NodePhase.RUNNING) == ["slow"])

    workspace.kubectl("delete", "namespace", "doomed", "--timeout=60s")

    assert [job.state for job in workspace.jobs(running)] == [JobState.STOPPED]


async def test_a_dag_of_the_same_name_runs_anew(workspace: Workspace) -> None:
    again = manifest("again", step("only"))
    workspace.apply(again)
    first = await workspace.succeeded("again")
    workspace.kubectl("delete", "bdag", "again")

    workspace.apply(again)
    second = await workspace.until("again", lambda dag: status(dag).phase is RunPhase.SUCCEEDED)

    assert second.metadata.uid != first.metadata.uid
    assert status(second).nodes["only"].job_id != status(first).nodes["only"].job_id

"""What may change while a DAG runs: whether anything starts, and how much at once."""

from __future__ import annotations

import pytest

from controller.api.bacalhau import Job
from controller.api.status import NodePhase, RunPhase
from dev.servers.kubectl import KubectlError
from tests.support.dags import manifest, step
from tests.support.workspace import Workspace, in_phase, phases, status

pytestmark = pytest.mark.e2e


async def test_a_suspended_dag_starts_nothing_until_it_is_resumed(workspace: Workspace) -> None:
    workspace.apply(manifest("held", step("a"), suspend=True))
    held = await workspace.until("held", lambda dag: status(dag).phase is RunPhase.SUSPENDED)
    assert workspace.jobs(held) == []

    await workspace.patch("held", suspend=False)

    await workspace.succeeded("held")


async def test_suspending_lets_running_nodes_finish(workspace: Workspace) -> None:
    workspace.apply(manifest("paused", step("slow", "sleep", "3000"), step("after", inputs=["slow"])))
    await workspace.until("paused", lambda dag: in_phase(dag, NodePhase.RUNNING) == ["slow"])

    await workspace.patch("paused", suspend=True)
    paused = await workspace.until("paused", lambda dag: phases(dag)["slow"] is NodePhase.SUCCEEDED)
    assert status(paused).phase is RunPhase.SUSPENDED
    assert "after" not in phases(paused)

    await workspace.patch("paused", suspend=False)
    await workspace.succeeded("paused")


async def test_parallelism_bounds_how_many_jobs_run_at_once(workspace: Workspace) -> None:
    nodes = [step(f"n{number}", "sleep", "100") for number in range(8)]
    workspace.apply(manifest("narrow", *nodes, parallelism=2))

    dag = await workspace.succeeded("narrow")

    assert most_at_once(workspace.jobs(dag)) == 2


async def test_a_connection_bounds_the_jobs_of_all_its_dags(workspace: Workspace) -> None:
    workspace.connect("small", limits={"maxActiveJobs": 2})
    nodes = [step(f"n{number}", "sleep", "100") for number in range(4)]
    small = {"connectionRef": {"name": "small"}}
    workspace.apply(manifest("one", *nodes, **small), manifest("other", *nodes, **small))

    dags = [await workspace.succeeded("one"), await workspace.succeeded("other")]

    assert most_at_once([job for dag in dags for job in workspace.jobs(dag)]) == 2


async def test_the_graph_of_a_started_dag_cannot_change(workspace: Workspace) -> None:
    workspace.apply(manifest("frozen", step("slow", "sleep", "300")))
    await workspace.until("frozen", lambda dag: status(dag).start_time is not None)

    with pytest.raises(KubectlError, match=r"spec\.nodes cannot change: the DAG has started"):
        workspace.apply(manifest("frozen", step("another", "sleep", "300")))

    await workspace.succeeded("frozen")


def most_at_once(jobs: list[Job]) -> int:
    """How many of the jobs were unfinished at the same time, by Bacalhau's own clock."""
    changes = sorted([(job.created_at, 1) for job in jobs] + [(job.modified_at, -1) for job in jobs])
    unfinished = most = 0
    for _, change in changes:
        unfinished += change
        most = max(most, unfinished)
    return most

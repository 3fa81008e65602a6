"""A node that does not succeed: what the run says about it, and what becomes of the others."""

from __future__ import annotations

import pytest

from controller.api.bacalhau import JobState
from controller.api.status import NodePhase, RunPhase
from controller.engine.identity import NODE_LABEL
from tests.support.dags import job_step, manifest, step
from tests.support.workspace import Workspace, attempts, phases, status

pytestmark = pytest.mark.e2e

SLOW = ("sleep", "60000")
"""Longer than any test waits: a node that does this ends by being stopped, or not at all."""


async def test_a_program_that_fails_fails_its_node_and_its_run(workspace: Workspace) -> None:
    bad = step("bad", "stderr", "reading the input", "stderr", "no such column: price", "exit", "7")
    workspace.apply(manifest("failing", bad, step("after", inputs=["bad"]), step("later", inputs=["after"])))

    dag = await workspace.ended("failing")

    node = status(dag).nodes["bad"]
    assert status(dag).phase is RunPhase.FAILED
    assert (node.phase, node.exit_code) == (NodePhase.FAILED, 7)
    assert node.message == "exit code 7: no such column: price"
    assert status(dag).message == 'node "bad": exit code 7: no such column: price'
    assert phases(dag) == {
        "bad": NodePhase.FAILED,
        "after": NodePhase.OMITTED,
        "later": NodePhase.OMITTED,
    }
    assert attempts(workspace.jobs(dag)) == [("bad", 1)]
    assert await workspace.event("NodeFailed", about="failing") == (
        'Node "bad": exit code 7: no such column: price'
    )


async def test_a_trap_is_an_error_with_the_reason_that_bacalhau_gives(workspace: Workspace) -> None:
    workspace.apply(manifest("trapping", step("trap", "trap"), step("after", inputs=["trap"])))

    dag = await workspace.ended("trapping")

    node = status(dag).nodes["trap"]
    assert status(dag).phase is RunPhase.ERROR
    assert node.phase is NodePhase.ERROR
    assert node.exit_code is None
    assert node.message is not None
    assert "unreachable" in node.message
    assert phases(dag)["after"] is NodePhase.OMITTED
    assert attempts(workspace.jobs(dag)) == [("trap", 1)]


async def test_a_job_that_no_node_can_hold_is_an_error_that_says_so(workspace: Workspace) -> None:
    timeouts = {"QueueTimeout": 1, "ExecutionTimeout": 60}
    huge = job_step("huge", "exit", "0", Resources={"CPU": "4000"}, Timeouts=timeouts)
    workspace.apply(manifest("impossible", huge))

    dag = await workspace.ended("impossible")

    node = status(dag).nodes["huge"]
    assert node.phase is NodePhase.ERROR
    assert node.message is not None
    assert "not enough nodes to run job" in node.message
    assert "available capacity {CPU: " in node.message


async def test_fail_fast_lets_running_nodes_finish_and_starts_nothing_new(workspace: Workspace) -> None:
    slow = step("slow", "sleep", "1500")
    nodes = [slow, step("bad", "exit", "3"), step("after-slow", inputs=["slow"])]
    workspace.apply(manifest("fail-fast", *nodes))

    dag = await workspace.ended("fail-fast")

    assert status(dag).phase is RunPhase.FAILED
    assert phases(dag) == {
        "slow": NodePhase.SUCCEEDED,
        "bad": NodePhase.FAILED,
        "after-slow": NodePhase.OMITTED,
    }


async def test_fail_fast_cancel_stops_what_runs(workspace: Workspace) -> None:
    nodes = [step("slow", *SLOW), step("first", "stdout", "go"), step("bad", "exit", "3", inputs=["first"])]
    workspace.apply(manifest("cancelling", *nodes, failurePolicy="FailFastCancel"))

    dag = await workspace.ended("cancelling")

    assert status(dag).phase is RunPhase.FAILED
    assert status(dag).message == 'node "bad": exit code 3 (1 more nodes did not succeed)'
    assert phases(dag)["slow"] is NodePhase.CANCELLED
    assert [job.state for job in workspace.jobs(dag) if job.meta[NODE_LABEL] == "slow"] == [JobState.STOPPED]


async def test_run_all_runs_all_that_does_not_depend_on_the_failure(workspace: Workspace) -> None:
    nodes = [
        step("bad", "exit", "3"),
        step("after-bad", inputs=["bad"]),
        step("good"),
        step("after-good", inputs=["good"]),
    ]
    workspace.apply(manifest("run-all", *nodes, failurePolicy="RunAll"))

    dag = await workspace.ended("run-all")

    assert status(dag).phase is RunPhase.FAILED
    assert phases(dag) == {
        "bad": NodePhase.FAILED,
        "after-bad": NodePhase.OMITTED,
        "good": NodePhase.SUCCEEDED,
        "after-good": NodePhase.SUCCEEDED,
    }


async def test_a_job_that_somebody_stops_cancels_its_node(workspace: Workspace) -> None:
    workspace.apply(manifest("stopped", step("slow", *SLOW)))
    running = await workspace.until("stopped", lambda dag: phases(dag).get("slow") is NodePhase.RUNNING)
    workspace.stop(running, "slow", reason="the cluster is needed for something else")

    dag = await workspace.ended("stopped")

    node = status(dag).nodes["slow"]
    assert (node.phase, node.reason) == (NodePhase.CANCELLED, "StoppedExternally")
    assert node.message is not None
    assert "the cluster is needed for something else" in node.message

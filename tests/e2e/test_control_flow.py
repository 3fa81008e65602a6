"""Conditions, retries, the end of a run and what comes after it, on real servers."""

from __future__ import annotations

import pytest

from controller.api.dag import BacalhauDAG
from controller.api.status import NodePhase, RunPhase
from tests.support.dags import manifest, step
from tests.support.workspace import Workspace, status

pytestmark = pytest.mark.e2e


def ends(dag: BacalhauDAG) -> dict[str, str]:
    """How each node stands."""
    return {name: node.phase.value for name, node in status(dag).nodes.items()}


async def test_logic_over_failures_decides_what_runs(workspace: Workspace) -> None:
    workspace.apply(
        manifest(
            "logic",
            step("a", "exit", "3"),
            step("b", "exit", "0"),
            step("repair", "exit", "0", depends="a.Failed && b"),
            step("celebrate", "exit", "0", depends="a.Succeeded"),
            outputs=[],
        )
    )
    dag = await workspace.succeeded("logic")
    assert ends(dag) == {"a": "Failed", "b": "Succeeded", "repair": "Succeeded", "celebrate": "Omitted"}
    assert "a is Failed" in str(status(dag).nodes["celebrate"].message)


async def test_a_condition_skips_a_node_and_says_why(workspace: Workspace) -> None:
    workspace.apply(
        manifest(
            "condition",
            step("count", "stdout", "3", "exit", "0"),
            step("many", "exit", "0", when="int(nodes.count.stdout) > params.limit"),
            step("after", "exit", "0", dependencies=["many"]),
            parameters=[{"name": "limit", "type": "integer"}],
            arguments={"limit": 10},
            outputs=[],
        )
    )
    dag = await workspace.succeeded("condition")
    assert ends(dag) == {"count": "Succeeded", "many": "Skipped", "after": "Succeeded"}
    assert "params.limit = 10" in str(status(dag).nodes["many"].message)


async def test_a_failing_node_is_tried_again_and_then_finally_runs(workspace: Workspace) -> None:
    retry = {"limit": 2, "backoff": {"duration": "100ms"}, "condition": "last.exitCode == 9"}
    workspace.apply(
        manifest(
            "persistent",
            step("flaky", "exit", "9", retry=retry),
            **{
                "finally": [
                    step("report", "stdout", "${{ run.phase }} ${{ nodes.flaky.phase }}", "exit", "0")
                ]
            },
            outputs=[],
        )
    )
    dag = await workspace.ended("persistent")
    assert status(dag).phase is RunPhase.FAILED
    flaky = status(dag).nodes["flaky"]
    assert (flaky.attempt, flaky.failures, len(flaky.attempts or ())) == (3, 3, 2)
    assert status(dag).nodes["report"].phase is NodePhase.SUCCEEDED
    report = next(job for job in workspace.jobs(dag) if "report" in job.name)
    assert report.tasks[0]["Engine"]["Params"]["Parameters"] == ["stdout", "Failed Failed", "exit", "0"]


async def test_only_what_failed_runs_again(workspace: Workspace) -> None:
    workspace.apply(
        manifest(
            "again",
            step("good", "write", "/outputs/x", "1", "exit", "0"),
            step("bad", "exit", "4", inputs=["good"]),
            step("last", "exit", "0", inputs=["bad"]),
            outputs=[],
        )
    )
    dag = await workspace.ended("again")
    assert ends(dag) == {"good": "Succeeded", "bad": "Failed", "last": "Omitted"}
    first = status(dag).nodes["good"].job_id

    await workspace.patch("again", retry={"id": "once more"})
    dag = await workspace.until(
        "again", lambda seen: status(seen).retry_id == "once more" and has_ended_again(seen)
    )
    assert status(dag).nodes["good"].job_id == first
    assert (status(dag).nodes["bad"].attempt, ends(dag)["last"]) == (2, "Omitted")
    assert sorted(job.name.rsplit("-", 1)[0] for job in workspace.jobs(dag)) == [
        "again-bad",
        "again-bad",
        "again-good",
    ]


def has_ended_again(dag: BacalhauDAG) -> bool:
    """Tell whether the failed node has had its second attempt, and the run is over."""
    phase = status(dag).phase
    return bool(phase and phase.is_terminal) and status(dag).nodes["bad"].attempt == 2


async def test_a_graph_waits_for_approval(workspace: Workspace) -> None:
    workspace.apply(
        manifest(
            "careful",
            step("build", "exit", "0"),
            {"name": "approve", "dependencies": ["build"], "suspend": {"message": "Ship it?"}},
            step("ship", "exit", "0", dependencies=["approve"]),
            outputs=[],
        )
    )
    await workspace.until("careful", lambda dag: ends(dag).get("approve") == "Suspended")
    await workspace.patch("careful", approvals=[{"name": "approve"}])
    dag = await workspace.succeeded("careful")
    assert status(dag).nodes["approve"].reason == "Approved"


async def test_a_node_that_takes_too_long_is_stopped(workspace: Workspace) -> None:
    workspace.apply(manifest("slow", step("sleeper", "sleep", "60000", timeout="1s"), outputs=[]))
    dag = await workspace.ended("slow")
    sleeper = status(dag).nodes["sleeper"]
    assert (sleeper.phase, sleeper.reason) == (NodePhase.FAILED, "TimedOut")
    assert "its timeout: 1s" in str(status(dag).message)

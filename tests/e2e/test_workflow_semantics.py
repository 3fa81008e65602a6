"""What users of other workflow engines take for granted, on real servers: parts of graphs, logic, forgiveness, retries, exit handlers.

Plain shapes of graphs are in `test_graphs`, and waits that survive a restart in `test_crashes`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from controller.api.bacalhau import Job
from controller.api.dag import BacalhauDAG
from controller.api.status import NodePhase, RunPhase
from controller.engine.identity import NODE_LABEL
from tests.support.dags import Manifest, heirs, manifest, step
from tests.support.workspace import Workspace, attempts, in_phase, phases, status

pytestmark = pytest.mark.e2e

SLOW = ("sleep", "60000")
"""Longer than any test waits: a node that does this ends by being stopped, or not at all."""


def jobs_of(node: str, jobs: list[Job]) -> list[Job]:
    """The jobs of a node, oldest first."""
    return sorted((job for job in jobs if job.meta[NODE_LABEL] == node), key=lambda job: job.created_at)


# What runs


@pytest.mark.parametrize(
    ("targets", "run"),
    [
        pytest.param(["report"], ["extract", "clean", "report"], id="one of two ends"),
        pytest.param(["clean"], ["extract", "clean"], id="in the middle"),
        pytest.param(["train", "report"], ["extract", "clean", "train", "report"], id="several"),
    ],
)
async def test_targets_run_with_what_they_need_and_nothing_else(
    workspace: Workspace, targets: list[str], run: list[str]
) -> None:
    edges = {"extract": [], "clean": ["extract"], "report": ["clean"], "train": ["clean"], "test": ["train"]}
    workspace.apply(manifest("part", *heirs(edges), targets=targets, outputs=[]))

    dag = await workspace.succeeded("part")

    assert sorted(phases(dag)) == sorted(run)
    assert attempts(workspace.jobs(dag)) == [(name, 1) for name in sorted(run)]


async def test_logic_looks_at_nodes_that_failed_and_at_nodes_that_never_ran(workspace: Workspace) -> None:
    workspace.apply(
        manifest(
            "logic",
            step("fetch"),
            step("fast-path", depends="fetch"),
            step("slow-path", "exit", "3", depends="fetch"),
            step("either-end", depends="fetch && (slow-path.Succeeded || slow-path.Failed)"),
            step("one-path", depends="fast-path || slow-path"),
            step("both-paths", depends="fast-path && slow-path"),
            step("one-or-both", depends="one-path.Succeeded || both-paths"),
            step("never-ran", depends="both-paths.Omitted && !both-paths"),
            outputs=[],
        )
    )

    dag = await workspace.succeeded("logic")

    assert in_phase(dag, NodePhase.OMITTED) == ["both-paths"]
    assert in_phase(dag, NodePhase.FAILED) == ["slow-path"]
    assert sorted(in_phase(dag, NodePhase.SUCCEEDED)) == [
        "either-end",
        "fast-path",
        "fetch",
        "never-ran",
        "one-or-both",
        "one-path",
    ]


async def test_logic_waits_for_all_that_it_names(workspace: Workspace) -> None:
    """`fast || slow` is true when `fast` has succeeded, but it is decided only when `slow` has ended, too."""
    either = step("either", depends="fast || slow")
    workspace.apply(manifest("patience", step("fast"), step("slow", "sleep", "1500"), either))

    dag = await workspace.succeeded("patience")

    nodes = status(dag).nodes
    assert str(nodes["either"].started_at) >= str(nodes["slow"].finished_at)


async def test_failures_that_may_be_are_tried_again_and_then_forgiven(workspace: Workspace) -> None:
    workspace.apply(
        manifest(
            "forgiving",
            step("lint", "exit", "1", continueOnFailure=True, retry={"limit": 1}),
            step("crash", "trap", continueOnFailure=True),
            step("test"),
            step("package", dependencies=["lint", "crash", "test"]),
        )
    )

    dag = await workspace.succeeded("forgiving")

    assert in_phase(dag, NodePhase.FAILED) == ["lint"]
    assert in_phase(dag, NodePhase.ERROR) == ["crash"]
    assert status(dag).nodes["lint"].attempt == 2
    assert sorted(in_phase(dag, NodePhase.SUCCEEDED)) == ["package", "test"]


@pytest.mark.parametrize(
    ("policy", "later"), [("FailFast", NodePhase.OMITTED), ("RunAll", NodePhase.SUCCEEDED)]
)
async def test_a_failure_counts_when_its_retries_are_used_up(
    workspace: Workspace, policy: str, later: NodePhase
) -> None:
    nodes = [
        step("bad", "exit", "3", retry={"limit": 2}),
        step("after-bad", inputs=["bad"]),
        step("slow", "sleep", "4000"),
        step("later", inputs=["slow"]),
    ]
    workspace.apply(manifest("policy", *nodes, failurePolicy=policy, outputs=[]))

    dag = await workspace.ended("policy")

    assert status(dag).phase is RunPhase.FAILED
    assert phases(dag) == {
        "bad": NodePhase.FAILED,
        "after-bad": NodePhase.OMITTED,
        "slow": NodePhase.SUCCEEDED,
        "later": later,
    }
    assert [attempt for node, attempt in attempts(workspace.jobs(dag)) if node == "bad"] == [1, 2, 3]


# What is tried again

BACKOFF = {"duration": "200ms", "factor": 3, "cap": "1s", "jitter": 0}
WAITS = [0.2, 0.6, 1.0]
"""Seconds between the attempts of a node with that backoff."""


async def test_each_wait_is_longer_than_the_one_before_up_to_the_cap(workspace: Workspace) -> None:
    workspace.apply(manifest("backoff", step("busy", "exit", "75", retry={"limit": 3, "backoff": BACKOFF})))

    dag = await workspace.ended("backoff")

    jobs = jobs_of("busy", workspace.jobs(dag))
    assert len(jobs) == 4
    waits = [later.created_at - earlier.modified_at for earlier, later in pairwise(jobs)]
    assert all(wait >= expected for wait, expected in zip(waits, WAITS, strict=True)), waits
    busy = status(dag).nodes["busy"]
    assert [(item.attempt, item.phase, item.exit_code) for item in busy.attempts or ()] == [
        (number, NodePhase.FAILED, 75) for number in (1, 2, 3)
    ]
    assert await workspace.event("AttemptFailed", about="backoff")


async def test_policy_and_condition_say_what_is_tried_again(workspace: Workspace) -> None:
    made: dict[tuple[str, str], tuple[dict[str, Any], int]] = {
        ("by-default", "exit"): ({}, 3),
        ("errors-only", "exit"): ({"policy": "OnError"}, 1),
        ("always", "exit"): ({"policy": "Always"}, 3),
        ("by-default-crash", "trap"): ({}, 1),
        ("errors-only-crash", "trap"): ({"policy": "OnError"}, 3),
        ("errors-own-limit", "trap"): ({"policy": "Always", "errorLimit": 1}, 2),
        ("other-code", "exit"): ({"condition": "last.exitCode == 75"}, 1),
        ("until-second", "exit"): ({"condition": "last.exitCode == 9 && last.attempt < 2"}, 2),
        ("by-message", "exit"): ({"condition": 'last.message.contains("busy")'}, 3),
    }
    words = {"exit": ("stderr", "the server is busy", "exit", "9"), "trap": ("trap",)}
    nodes = [step(name, *words[how], retry={"limit": 2} | retry) for (name, how), (retry, _) in made.items()]
    workspace.apply(manifest("policies", *nodes, failurePolicy="RunAll", outputs=[]))

    dag = await workspace.ended("policies")

    found = {name: node.attempt for name, node in status(dag).nodes.items()}
    assert found == {name: count for (name, _), (_, count) in made.items()}


# Exit handlers

READS = "${{ run.phase }} ${{ nodes.main.phase }} ${{ nodes.main.reason }} ${{ nodes.after.phase }}"
ENDS: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "success": (("exit", "0"), {}, "Succeeded Succeeded Completed Succeeded"),
    "failure": (("exit", "3"), {}, "Failed Failed ExitCode Omitted"),
    "error": (("trap",), {}, "Error Error ExecutionFailed Omitted"),
    "deadline of the nodes": (SLOW, {"timeouts": {"nodes": "2s"}}, "Failed Failed RunTimedOut Omitted"),
    "deadline of the DAG": (
        SLOW,
        {"timeouts": {"dag": "62s", "finally": "60s"}},
        "Failed Failed RunTimedOut Omitted",
    ),
}


def with_handler(name: str, *words: str, **spec: Any) -> Manifest:
    """A graph whose last node tells what it may read."""
    handler = step("handler", "stdout", READS)
    nodes = [step("main", *words), step("after", inputs=["main"])]
    return manifest(name, *nodes, **{"finally": [handler], "outputs": []} | spec)


def told(workspace: Workspace, dag: BacalhauDAG) -> str:
    """What the handler was told."""
    assert phases(dag)["handler"] is NodePhase.SUCCEEDED
    (job,) = jobs_of("handler", workspace.jobs(dag))
    return str(job.tasks[0]["Engine"]["Params"]["Parameters"][1])


@pytest.mark.parametrize(("words", "spec", "expected"), ENDS.values(), ids=ENDS.keys())
async def test_an_exit_handler_runs_and_knows_how_it_came_to_the_end(
    workspace: Workspace, words: tuple[str, ...], spec: dict[str, Any], expected: str
) -> None:
    workspace.apply(with_handler("handled", *words, **spec))

    dag = await workspace.ended("handled")

    assert told(workspace, dag) == expected
    assert str(status(dag).phase) == expected.split()[0]


@pytest.mark.parametrize(
    ("shutdown", "expected"),
    [
        ("StopRunFinally", "Cancelled Succeeded Completed Omitted"),
        ("CancelRunFinally", "Cancelled Cancelled Cancelled Omitted"),
    ],
)
async def test_an_exit_handler_runs_after_a_shutdown_that_asks_for_it(
    workspace: Workspace, shutdown: str, expected: str
) -> None:
    workspace.apply(with_handler("ended-early", "sleep", "4000"))
    await workspace.until("ended-early", lambda dag: in_phase(dag, NodePhase.RUNNING) == ["main"])

    await workspace.patch("ended-early", shutdown=shutdown)

    dag = await workspace.ended("ended-early")
    assert told(workspace, dag) == expected
    assert status(dag).phase is RunPhase.CANCELLED


async def test_no_exit_handler_runs_after_a_shutdown_that_cancels(workspace: Workspace) -> None:
    workspace.apply(with_handler("cancelled", *SLOW))
    await workspace.until("cancelled", lambda dag: in_phase(dag, NodePhase.RUNNING) == ["main"])

    await workspace.patch("cancelled", shutdown="Cancel")

    dag = await workspace.ended("cancelled")
    assert status(dag).phase is RunPhase.CANCELLED
    assert phases(dag)["handler"] is NodePhase.OMITTED
    assert attempts(workspace.jobs(dag)) == [("main", 1)]


@pytest.mark.parametrize(
    ("words", "timeouts", "reason"),
    [
        pytest.param(("exit", "4"), {}, "ExitCode", id="says no"),
        pytest.param(SLOW, {"finally": "2s"}, "RunTimedOut", id="takes too long"),
    ],
)
async def test_an_exit_handler_that_fails_fails_the_run(
    workspace: Workspace, words: tuple[str, ...], timeouts: dict[str, str], reason: str
) -> None:
    handlers = [step("handler", *words), step("sibling")]
    workspace.apply(manifest("mishandled", step("main"), timeouts=timeouts, **{"finally": handlers}))

    dag = await workspace.ended("mishandled")

    assert status(dag).phase is RunPhase.FAILED
    assert (phases(dag)["main"], phases(dag)["sibling"]) == (NodePhase.SUCCEEDED, NodePhase.SUCCEEDED)
    assert status(dag).nodes["handler"].reason == reason

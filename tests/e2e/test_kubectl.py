"""What people see of a DAG with kubectl alone."""

from __future__ import annotations

import re
import subprocess

import pytest

from dev import toolchain
from tests.support.dags import heirs, manifest, step
from tests.support.workspace import Workspace

pytestmark = pytest.mark.e2e

DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


async def test_get_shows_how_a_run_went(workspace: Workspace) -> None:
    bad = step("count", "stderr", "no such column: price", "exit", "7")
    workspace.apply(
        manifest("diamond", *heirs(DIAMOND)), manifest("failing", bad, step("sum", inputs=["count"]))
    )
    await workspace.succeeded("diamond")
    await workspace.ended("failing")

    header, diamond, failing = workspace.kubectl("get", "bdag").splitlines()
    assert header.split() == ["NAME", "PHASE", "PROGRESS", "AGE"]
    assert re.fullmatch(r"diamond +Succeeded +4/4 +\d+s", diamond)
    assert re.fullmatch(r"failing +Failed +0/2 +\d+s", failing)

    header, diamond, failing = workspace.kubectl("get", "bdag", "-o", "wide").splitlines()
    assert header.split() == ["NAME", "PHASE", "PROGRESS", "AGE", "MESSAGE"]
    assert diamond.endswith("All 4 nodes succeeded.")
    assert failing.endswith('node "count": exit code 7: no such column: price')

    assert "bdag" in workspace.kubectl("api-resources", "--api-group=bacalhau.org")


def test_wait_ends_with_the_run(workspace: Workspace) -> None:
    workspace.apply(manifest("diamond", *heirs(DIAMOND)))
    waited = workspace.kubectl("wait", "--for=condition=Succeeded", "bdag/diamond", "--timeout=60s")
    assert waited == "bacalhaudag.bacalhau.org/diamond condition met\n"


def test_watching_shows_each_step(workspace: Workspace) -> None:
    """`kubectl get -w` until the DAG has succeeded: a phase from the first line on, and progress that only ever grows."""
    command = [str(toolchain.find("kubectl")), f"--kubeconfig={workspace.plane.kubeconfig}"]
    watch = [*command, "-n", workspace.namespace, "get", "bdag", "-w", "--no-headers"]
    with subprocess.Popen(watch, stdout=subprocess.PIPE, text=True) as watching:
        workspace.apply(
            manifest("diamond", *(step(name, "sleep", "300", inputs=DIAMOND[name]) for name in DIAMOND))
        )
        assert watching.stdout
        lines: list[str] = []
        for line in watching.stdout:
            lines.append(line)
            if "Succeeded" in line:
                break
        watching.kill()

    assert all(line.split()[1] in ("Pending", "Running", "Succeeded") for line in lines), lines
    progress = [found[1] for line in lines if (found := re.search(r"Running +(\d)/4", line))]
    assert progress == sorted(progress)
    assert len(set(progress)) >= 3
    assert "4/4" in lines[-1]


async def test_describe_tells_the_story_of_a_failure(workspace: Workspace) -> None:
    bad = step("count", "stderr", "no such column: price", "exit", "7")
    workspace.apply(manifest("failing", bad, step("sum", inputs=["count"])))
    await workspace.ended("failing")
    await workspace.event("Failed", about="failing")

    described = workspace.kubectl("describe", "bdag", "failing")

    story = described[described.index("Events:") :]
    assert re.search(r"Normal +Running +\S+ +bacalhau-dag-operator +Running 2 nodes\.", story)
    assert re.search(r'Warning +NodeFailed .* Node "count": exit code 7: no such column: price', story)
    assert re.search(
        r'Warning +Failed .* failed 1, .* omitted 1. The first that did not succeed was "count"', story
    )
    assert re.search(r"Phase: +Omitted", described)
    assert re.search(r'Message: +node "count" did not succeed', described)

"""One large result, read by many jobs on one node at the same time.

Bacalhau keeps what it downloads in a folder named by the text of the CID, shares it between the jobs that read it, and removes it when
the first of them ends. The operator spells the CID differently for each job. Both halves are shown: that it is needed, and that it works.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from controller.api.bacalhau import ComputeState, Execution
from controller.api.status import NodePhase
from dev.plane import ControlPlane
from dev.servers.process import loopback_client, wait_until
from tests.support import wasm
from tests.support.dags import manifest, step
from tests.support.workspace import Workspace, attempts, cid, in_phase

pytestmark = pytest.mark.e2e

KILOBYTES = 60_000
CONSUMERS = [f"reader{number:02}" for number in range(24)]


async def test_many_nodes_read_one_large_result_at_once(workspace: Workspace) -> None:
    big = step("big", "fill", "/outputs/big", str(KILOBYTES), "write", "/outputs/mark", "complete")
    read = ("copy", "/inputs/big/outputs/mark", "/outputs/mark")
    workspace.apply(manifest("wide", big, *(step(name, *read, inputs=["big"]) for name in CONSUMERS)))

    dag = await workspace.succeeded("wide")

    assert sorted(in_phase(dag, NodePhase.SUCCEEDED)) == sorted([*CONSUMERS, "big"])
    assert attempts(workspace.jobs(dag)) == sorted((name, 1) for name in [*CONSUMERS, "big"])
    assert workspace.plane.ipfs.cat(f"{cid(dag)}/outputs/mark") == b"complete"


def test_bacalhau_alone_fails_at_it(plane: ControlPlane) -> None:
    content = plane.ipfs.add_directory({"big": bytes(KILOBYTES * 1000), "mark": b"complete"})
    source = {"Source": {"Type": "ipfs", "Params": {"CID": content}}, "Target": "/inputs/big"}
    jobs = [
        wasm.job(name, "cat", "/inputs/big/mark", namespace="one-spelling", sources=[source])
        for name in CONSUMERS
    ]
    executions = Executions(plane, submit(plane, jobs))

    wait_until(executions.all_have_ended, what="the first execution of each job to end", timeout=90)

    failures = [execution.message for execution in executions.seen() if has_failed(execution)]
    print(f"{len(failures)} executions of {len(jobs)} jobs failed.")
    assert failures
    assert all("does not exist" in failure or "failed to copy" in failure for failure in failures), failures


class Executions:
    """The executions of some jobs."""

    def __init__(self, plane: ControlPlane, jobs: Iterable[str]) -> None:
        self._http = loopback_client(plane.bacalhau.url)
        self._jobs = list(jobs)

    def seen(self) -> list[Execution]:
        """All of them, as they are now."""
        return [execution for job in self._jobs for execution in self._of(job)]

    def all_have_ended(self) -> bool:
        """Whether each job has one that completed or failed."""
        return all(
            any(execution.compute_state.is_terminal for execution in self._of(job)) for job in self._jobs
        )

    def _of(self, job: str) -> list[Execution]:
        response = self._http.get(
            f"/api/v1/orchestrator/jobs/{job}/executions", params={"namespace": "one-spelling"}
        )
        return [Execution.model_validate(item) for item in response.raise_for_status().json()["Items"] or ()]


def submit(plane: ControlPlane, jobs: Iterable[dict[str, object]]) -> list[str]:
    """Give jobs to Bacalhau as they are; their IDs."""
    http = loopback_client(plane.bacalhau.url)
    answers = [http.put("/api/v1/orchestrator/jobs", json={"Job": job}).raise_for_status() for job in jobs]
    return [str(answer.json()["JobID"]) for answer in answers]


def has_failed(execution: Execution) -> bool:
    return execution.compute_state is ComputeState.FAILED

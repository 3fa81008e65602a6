"""The machine-learning example on real containers: scikit-learn in Docker jobs that hand their results on over IPFS."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from dev.containers import DockerBacalhau
from dev.plane import ControlPlane
from dev.servers.process import loopback_client, wait_until

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

JOB_TIMEOUT = 240.0
"""Seconds that one job may take; most of them it waits for a processor."""


def a_step(name: str, image: str, *command: str, inputs: dict[str, str] | None = None) -> dict[str, Any]:
    """One step of the pipeline as a Bacalhau job; `inputs` are CIDs by the step they come from."""
    sources = [
        {"Source": {"Type": "ipfs", "Params": {"CID": cid}}, "Target": f"/inputs/{step}"}
        for step, cid in (inputs or {}).items()
    ]
    task = {
        "Name": "main",
        "Engine": {"Type": "docker", "Params": {"Image": image, "Parameters": list(command)}},
        "InputSources": sources,
        "ResultPaths": [{"Name": "outputs", "Path": "/outputs"}],
        "Publisher": {"Type": "ipfs"},
        "Resources": {"CPU": "500m", "Memory": "1Gb"},
        "Network": {"Type": "None"},
        "Timeouts": {"ExecutionTimeout": 200, "QueueTimeout": 200, "TotalTimeout": 400},
    }
    return {"Name": name, "Namespace": "by-hand", "Type": "batch", "Count": 1, "Tasks": [task]}


def run_job(bacalhau: DockerBacalhau, job: dict[str, Any]) -> dict[str, Any]:
    """Submits a job and waits for it; returns the execution that completed."""
    with loopback_client(bacalhau.url) as http:
        submitted = http.put("/api/v1/orchestrator/jobs", json={"Job": job})
        assert submitted.status_code == 200, submitted.text
        path = f"/api/v1/orchestrator/jobs/{submitted.json()['JobID']}"
        wait_until(
            lambda: job_state(http, path) == "Completed", what=f"job {job['Name']}", timeout=JOB_TIMEOUT
        )
        executions = http.get(path, params={"include": "executions"}).json()["Executions"]["Items"]
    (completed,) = (found for found in executions if found["ComputeState"]["StateType"] == 9)
    return dict(completed)


def job_state(http: httpx.Client, path: str) -> str:
    """Where a job stands; one that failed ends the test with its executions."""
    shown = http.get(path, params={"include": "executions"}).json()
    state: str = shown["Job"]["State"]["StateType"]
    messages = [execution["ComputeState"].get("Message") for execution in shown["Executions"]["Items"] or []]
    assert state not in ("Failed", "Stopped"), f"{shown['Job']['State']}: {messages}"
    return state


def test_a_docker_job_reads_the_result_of_another(
    plane: ControlPlane, docker_bacalhau: DockerBacalhau, ml_image: str
) -> None:
    split = run_job(docker_bacalhau, a_step("split", ml_image, "split"))
    assert split["RunOutput"]["ExitCode"] == 0
    data = split["PublishedResult"]["Params"]["CID"]
    assert sum(json.loads(plane.ipfs.cat(f"{data}/outputs/shards.json")).values()) == 1797

    command = ("train", "vectors", "C=4", "gamma=0.001")
    train = run_job(docker_bacalhau, a_step("train", ml_image, *command, inputs={"split": data}))
    assert train["RunOutput"]["ExitCode"] == 0
    model = train["PublishedResult"]["Params"]["CID"]
    assert "model.joblib" in {link.name for link in plane.ipfs.ls(f"{model}/outputs")}


def test_the_exit_code_of_a_step_arrives(docker_bacalhau: DockerBacalhau, ml_image: str) -> None:
    refused = run_job(docker_bacalhau, a_step("refused", ml_image, "train", "astrology"))
    assert refused["RunOutput"]["ExitCode"] == 2
    assert "invalid choice: 'astrology'" in refused["RunOutput"]["stderr"]

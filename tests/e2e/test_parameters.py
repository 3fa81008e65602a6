"""Values out of ConfigMaps and Secrets on real servers: a run keeps the first, and nobody but its jobs gets to know the second."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.api.dag import BacalhauDAG
from controller.api.status import NodePhase
from controller.engine.secrets import MARK
from dev.plane import ControlPlane
from dev.servers.controller import Controller
from dev.servers.process import loopback_client
from tests.support.controller import running_controller
from tests.support.dags import job_step, manifest
from tests.support.workspace import Json, Workspace, attempts, cid, in_phase, status

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "parameters"
PASSWORD = 'correct "horse" battery\nstaple'

PASSWORD_PARAMETER: Json = {
    "name": "password",
    "valueFrom": {"secretKeyRef": {"name": "warehouse", "key": "password"}},
}

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def operator(own_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """An operator that may be killed, if it is started again, and that logs all that it can."""
    folder = tmp_path_factory.mktemp("operator")
    with running_controller(own_plane, folder, lease_enabled="false", log_level="DEBUG") as operator:
        yield operator


@pytest.fixture
def workspace(own_plane: ControlPlane, operator: Controller) -> Workspace:
    """A namespace on the operator's plane, with a connection."""
    assert operator.running, operator.log_tail()
    workspace = Workspace(own_plane, f"parameters-{next(_numbers)}")
    workspace.kubectl("create", "namespace", workspace.namespace)
    workspace.connect()
    return workspace


def config_map(**data: str) -> Json:
    """The ConfigMap ``site``."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "site"}, "data": data}


def secret(password: str) -> Json:
    """The Secret ``warehouse``."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "warehouse"},
        "stringData": {"password": password},
    }


def stored_jobs(workspace: Workspace, dag: BacalhauDAG) -> list[Json]:
    """All jobs of a run as Bacalhau has them, environment and all."""
    answer = loopback_client(workspace.plane.bacalhau.url).get(
        "/api/v1/orchestrator/jobs",
        params={"namespace": str(status(dag).bacalhau_namespace), "limit": 0},
    )
    return list(answer.raise_for_status().json()["Items"])


def all_that_is_said(workspace: Workspace, operator: Controller) -> str:
    """What the cluster holds of a DAG, its Events and the operator's log."""
    return workspace.kubectl("get", "bdag,bconn,events,configmaps", "-o", "json") + operator.log.read_text()


def spellings(value: str) -> set[str]:
    """How a value could be written somewhere."""
    encoded = base64.b64encode(value.encode()).decode()
    return {value, json.dumps(value)[1:-1], repr(value)[1:-1], encoded, value[:12]}


async def test_the_example_shows_its_values(workspace: Workspace, operator: Controller) -> None:
    workspace.kubectl("apply", "-f", EXAMPLE / "dag.yaml")
    missing = await workspace.hindered("with-values", "ConfigMapNotFound")
    assert missing.startswith(
        'spec.parameters[region].valueFrom.configMapKeyRef: There is no ConfigMap "site" in namespace'
    )
    assert await workspace.event("ConfigMapNotFound", about="with-values") == missing

    workspace.kubectl("apply", "-f", EXAMPLE / "values.yaml")
    dag = await workspace.succeeded("with-values")

    shown = workspace.plane.ipfs.cat(f"{cid(dag, 'shown')}/stdout").decode().splitlines()
    assert shown[:4] == ["mode full", "region eu-west", "retries 3", "tier standard"]
    assert "WAREHOUSE: 49" in shown[4:]
    assert status(dag).parameters == {"region": "eu-west", "retries": "2", "tier": "standard"}
    assert "battery" not in all_that_is_said(workspace, operator)


async def test_a_run_keeps_its_values_when_the_operator_is_killed(
    workspace: Workspace, operator: Controller
) -> None:
    parameter = {"name": "region", "valueFrom": {"configMapKeyRef": {"name": "site", "key": "region"}}}
    gate = {"name": "gate", "suspend": {}, "dependencies": ["first"]}
    steps = [job_step(name, "stdout", "${{ params.region }}") for name in ("first", "second")]
    workspace.apply(config_map(region="before"))
    workspace.apply(
        manifest("kept", steps[0], gate, {**steps[1], "dependencies": ["gate"]}, parameters=[parameter])
    )
    await workspace.until("kept", lambda dag: in_phase(dag, NodePhase.SUSPENDED) == ["gate"])

    operator.kill()
    workspace.apply(config_map(region="after"))
    operator.start()
    await workspace.patch("kept", approvals=[{"name": "gate"}])

    dag = await workspace.succeeded("kept")
    assert status(dag).parameters == {"region": "before"}
    words = [job["Tasks"][0]["Engine"]["Params"]["Parameters"][1] for job in stored_jobs(workspace, dag)]
    assert words == ["before", "before"]


async def test_a_secret_reaches_the_jobs_and_nobody_else(workspace: Workspace, operator: Controller) -> None:
    workspace.apply(secret(PASSWORD))
    environment = {"WAREHOUSE": "password=${{ params.password }};"}
    fails = job_step("fails", "exit", "3", Env=environment)
    workspace.apply(
        manifest("secretive", fails, parameters=[PASSWORD_PARAMETER], outputs=[]),
    )
    dag = await workspace.ended("secretive")

    (job,) = stored_jobs(workspace, dag)
    assert job["Tasks"][0].pop("Env") == {"WAREHOUSE": f"password={PASSWORD};"}
    said = all_that_is_said(workspace, operator) + json.dumps(job)
    assert [spelling for spelling in spellings(PASSWORD) if spelling in said] == []
    assert MARK not in said


async def test_a_missing_secret_is_waited_for(workspace: Workspace, operator: Controller) -> None:
    reads = job_step("reads", "stdout", "read", Env={"PASSWORD": "${{ params.password }}"})
    beside = job_step("beside", "stdout", "done")
    workspace.apply(manifest("patient", beside, reads, parameters=[PASSWORD_PARAMETER]))

    missing = await workspace.hindered("patient", "SecretNotFound")
    assert missing.startswith(
        'spec.parameters[password].valueFrom.secretKeyRef: There is no Secret "warehouse" in namespace'
    )
    assert missing.endswith("Create it, or correct the reference.")
    assert await workspace.event("SecretNotFound", about="patient") == missing
    await workspace.until("patient", lambda dag: in_phase(dag, NodePhase.SUCCEEDED) == ["beside"])

    workspace.apply(secret(PASSWORD))
    dag = await workspace.succeeded("patient")
    assert attempts(workspace.jobs(dag)) == [("beside", 1), ("reads", 1)]


async def test_a_job_that_bacalhau_refuses_gives_nothing_away(
    workspace: Workspace, operator: Controller
) -> None:
    workspace.apply(secret(PASSWORD))
    refused = job_step("refused", "stdout", "x", Env={"lower-case": "${{ params.password }}"})
    workspace.apply(manifest("refused", refused, parameters=[PASSWORD_PARAMETER]))

    dag = await workspace.ended("refused")

    assert re.search("lower-case", status(dag).message or "")
    said = all_that_is_said(workspace, operator)
    assert [spelling for spelling in spellings(PASSWORD) if spelling in said] == []

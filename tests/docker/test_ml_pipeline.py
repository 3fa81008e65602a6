"""The machine-learning example on real containers: scikit-learn in Docker jobs that hand their results on over IPFS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.api.status import NodePhase, RunPhase
from dev.containers import DockerBacalhau
from tests.support.workspace import Workspace, attempts, cid, in_phase, status

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "ml-pipeline"

MODELS = {"forest", "linear", "neighbours", "vectors"}

RUN_TIMEOUT = 600.0
"""Seconds that the whole graph may take: eleven containers, two or three at a time."""


@pytest.fixture
def manifest(ml_image: str) -> dict[str, Any]:
    """The example's DAG as a user applies it, with an image of their own."""
    example: dict[str, Any] = yaml.safe_load((EXAMPLE / "dag.yaml").read_text())
    example["spec"]["arguments"]["image"] = ml_image
    return example


async def test_the_best_model_is_picked_and_reported(
    workspace: Workspace, docker_bacalhau: DockerBacalhau, manifest: dict[str, Any]
) -> None:
    workspace.connect(endpoint=docker_bacalhau.url)
    workspace.apply(manifest)

    dag = await workspace.succeeded("ml-pipeline", within=RUN_TIMEOUT)

    ipfs = workspace.plane.ipfs
    ranking = json.loads(ipfs.cat(f"{cid(dag, 'model')}/outputs/ranking.json"))
    assert {score["model"] for score in ranking} == MODELS
    assert ranking == sorted(ranking, key=lambda score: -score["accuracy"])
    report = json.loads(ipfs.cat(f"{cid(dag, 'report')}/outputs/report.json"))
    assert (report["model"], report["validationAccuracy"]) == (ranking[0]["model"], ranking[0]["accuracy"])
    assert report["testImages"] == 360
    assert report["testAccuracy"] > 0.97
    nodes = sorted(node["name"] for node in manifest["spec"]["nodes"])
    assert sorted(in_phase(dag, NodePhase.SUCCEEDED)) == nodes
    assert attempts(workspace.jobs(dag, server=docker_bacalhau)) == [(name, 1) for name in nodes]


async def test_a_step_that_fails_says_why(
    workspace: Workspace, docker_bacalhau: DockerBacalhau, manifest: dict[str, Any]
) -> None:
    split, forest, *_ = manifest["spec"]["nodes"]
    forest["arguments"]["command"] = ["train", "forest", "n_estimators=-1"]
    manifest["spec"] |= {"nodes": [split, forest], "outputs": []}
    workspace.connect(endpoint=docker_bacalhau.url)
    workspace.apply(manifest)

    dag = await workspace.ended("ml-pipeline", within=RUN_TIMEOUT)

    assert status(dag).phase is RunPhase.FAILED
    assert status(dag).nodes["train-forest"].exit_code == 1
    assert "The 'n_estimators' parameter of RandomForestClassifier must be" in str(status(dag).message)

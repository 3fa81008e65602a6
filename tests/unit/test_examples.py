"""Every example is a DAG that the operator accepts, known without running it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from controller.api.dag import DAGSpec
from controller.engine.graph import Graph

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def spec_of(file: Path) -> DAGSpec:
    return DAGSpec.model_validate(yaml.safe_load(file.read_text())["spec"])


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*/dag.yaml")), ids=lambda file: file.parent.name)
def test_an_example_compiles(file: Path) -> None:
    spec = spec_of(file)
    assert len(Graph.compile(spec).nodes) == len(spec.nodes)


def test_each_step_of_the_pipeline_reads_the_steps_that_its_command_names() -> None:
    nodes = spec_of(EXAMPLES / "ml-pipeline" / "dag.yaml").nodes
    names = {node.name for node in nodes}
    for node in nodes:
        _, *words = node.arguments["command"]
        assert names.intersection(words) <= {found.from_ for found in node.inputs}, node.name

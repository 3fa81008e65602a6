"""Every example is a DAG that the operator accepts, and says how it is run and how it ends. Known without running it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller.api.dag import DAGSpec
from controller.engine.graph import Graph
from dev import programs
from tests.support.examples import FOLDER, RUN, Example, all_examples

CONTROL_FLOW = [example for example in all_examples() if example.file.parent.name == "control-flow"]


def spec_of(example: Example) -> DAGSpec:
    return DAGSpec.model_validate(example.body["spec"])


def nodes_of(spec: DAGSpec) -> list[str]:
    return [node.name for node in Graph.compile(spec).nodes]


@pytest.mark.parametrize("example", all_examples(), ids=lambda example: example.title)
def test_an_example_compiles(example: Example) -> None:
    spec = spec_of(example)
    assert set(nodes_of(spec)) <= {node.name for node in [*spec.nodes, *spec.finally_]}


def test_examples_can_run_side_by_side() -> None:
    names = [example.name for example in all_examples()]
    assert len(set(names)) == len(names), sorted(names)


@pytest.mark.parametrize("example", CONTROL_FLOW, ids=lambda example: example.title)
def test_an_example_of_a_feature_says_how_it_ends(example: Example) -> None:
    assert example.name == example.file.stem
    assert f"kubectl apply -f {example.file.name}" in example.commands.splitlines()
    told = dict.fromkeys(ending.of.partition("[")[0] for ending in example.endings)
    assert list(told) == [RUN, *nodes_of(spec_of(example))]


@pytest.mark.parametrize(("manifest", "source"), programs.manifests(), ids=lambda path: path.name)
def test_a_manifest_carries_its_program_as_the_source_is(manifest: Path, source: Path) -> None:
    text = manifest.read_text()
    assert programs.with_program(text, source) == text, "Run `make examples`."


def test_every_example_is_in_the_table() -> None:
    linked = re.findall(r"\]\(([^)]+\.yaml)\)", (FOLDER / "README.md").read_text())
    assert sorted(set(linked)) == [str(example.file.relative_to(FOLDER)) for example in CONTROL_FLOW]


def test_each_step_of_the_pipeline_reads_the_steps_that_its_command_names() -> None:
    nodes = spec_of(Example(FOLDER / "ml-pipeline" / "dag.yaml")).nodes
    names = {node.name for node in nodes}
    for node in nodes:
        _, *words = node.arguments["command"]
        assert names.intersection(words) <= {found.from_ for found in node.inputs}, node.name

"""Every example is a DAG that the operator accepts and that says how it ends, known without running it."""

from __future__ import annotations

import base64
import re

import pytest

from controller.api.dag import DAGSpec
from controller.engine.graph import Graph
from tests.support.examples import FOLDER, RUN, Example, all_examples
from tests.support.wasm import assemble

CONTROL_FLOW = [example for example in all_examples() if example.file.parent.name == "control-flow"]

of_each = pytest.mark.parametrize("example", all_examples(), ids=lambda example: example.title)
of_each_feature = pytest.mark.parametrize("example", CONTROL_FLOW, ids=lambda example: example.title)


def spec_of(example: Example) -> DAGSpec:
    return DAGSpec.model_validate(example.body["spec"])


@of_each
def test_an_example_compiles(example: Example) -> None:
    spec = spec_of(example)
    assert len(Graph.compile(spec).nodes) == len(spec.targets or spec.nodes) + len(spec.finally_)

"""What expressions may read of other nodes, of the last attempt and of the run."""

from typing import Any

import pytest

from controller.api.status import NodePhase
from controller.engine import Graph
from controller.engine.reading import Reader
from controller.engine.results import FIELDS, FIELDS_OF, FIELDS_OF_FAN_OUTS, result_of, result_of_fan_out
from controller.engine.retry import last_attempt
from controller.engine.state import NodeState
from tests.support.builders import Json, Play, completed, dag, job, node
from tests.unit.engine.test_graph import problems

FAN_OUT = node("w", forEach={"range": {"count": 2}})


def told(expression: str) -> Json:
    return node("b", job=job(Env={"SAID": f"${{{{ {expression} }}}}"}))


def test_items_keep_their_number_when_some_are_left_out() -> None:
    items = [NodeState(phase=phase) for phase in (NodePhase.FAILED, NodePhase.SUCCEEDED, NodePhase.SUCCEEDED)]
    result = result_of_fan_out(NodeState(phase=NodePhase.SUCCEEDED), items)
    assert [item["index"] for item in result["items"] if item["phase"] == "Succeeded"] == [1, 2]
    assert (result["total"], result["succeeded"]) == (3, 2)


def test_what_may_be_read_is_what_there_is() -> None:
    ended = NodeState(phase=NodePhase.SUCCEEDED)
    assert result_of(ended).keys() == FIELDS
    fan_out = result_of_fan_out(ended, [ended])
    assert fan_out.keys() >= FIELDS_OF_FAN_OUTS
    assert {name for name in FIELDS - FIELDS_OF_FAN_OUTS if fan_out[name]} == set()
    assert last_attempt(ended, 1.0).keys() == FIELDS_OF["last"]
    run = Play(dag(node("a"), **{"finally": [node("f")]})).go().see(a=completed()).run
    assert Reader(run.roster, run.context).variables(run.nodes[1])["run"].keys() == FIELDS_OF["run"]


UNKNOWN: dict[str, tuple[Json, str]] = {
    "a misspelled field": (
        told("nodes.a.output.cid"),
        'job: the expression nodes.a.output: "output" is not known of a node; did you mean "outputs"?',
    ),
    "a misspelled key": (
        told('nodes["a"]["exitcode"]'),
        'job: the expression nodes.a.exitcode: "exitcode" is not known of a node; did you mean "exitCode"?',
    ),
    "an optional one": (
        told("nodes.a.?stdut.orValue(1)"),
        'job: the expression nodes.a.stdut: "stdut" is not known of a node; did you mean "stdout"?',
    ),
    "items of a node that has none": (
        told("nodes.a.items"),
        'job: the expression nodes.a.items: "a" has no forEach, and so no items.',
    ),
    "the exit code of all items": (
        node("b", when="nodes.w.exitCode == 0"),
        'when: the expression nodes.w.exitCode: "w" has one for each item; read nodes.w.items instead.',
    ),
    "the result of all items": (
        told("nodes.w.outputs.cid"),
        'job: the expression nodes.w.outputs: "w" has one for each item; read nodes.w.items instead.',
    ),
    "the last attempt": (
        node("b", retry={"limit": 1, "condition": "last.exitcode != 2"}),
        'retry.condition: the expression last.exitcode: "exitcode" is not known of last; did you mean "exitCode"?',
    ),
}


@pytest.mark.parametrize(("document", "problem"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_there_is_not_is_told_before_the_run(document: Json, problem: str) -> None:
    assert problems(dag(node("a"), FAN_OUT, document)) == [f"spec.nodes[b].{problem}"]


def test_the_run_has_few_fields() -> None:
    [problem] = problems(dag(node("a"), **{"finally": [node("f", when='run.phse == "Failed"')]}))
    assert problem == (
        'spec.finally[f].when: the expression run.phse: "phse" is not known of run; did you mean "phase"?'
    )


@pytest.mark.parametrize(
    "expression",
    [
        "nodes.a.outputs.files.size()",
        "nodes.w.items.map(i, i.exitCode)",
        "params.lists.map(run, run.nothing)",
        "'nodes.a.nothing'",
        "nodes.a.stdout.split(',')[0]",
        "params.nodes.a.nothing",
    ],
)
def test_what_only_looks_like_a_field_is_none(expression: str) -> None:
    parameters: list[Any] = [{"name": name, "type": "object", "default": {}} for name in ("lists", "nodes")]
    Graph.compile(dag(node("a"), FAN_OUT, told(expression), parameters=parameters))

"""``forEach``: what the items of a list are, and what is wrong with one."""

from typing import Any

import pytest

from controller.api.status import NodePhase, RunPhase
from controller.api.types import MAX_NODES
from controller.engine import Graph
from tests.support.builders import Json, Play, completed, dag, job, node
from tests.unit.engine.test_graph import problems

P = NodePhase
ITEM = job(Env={"ITEM": "${{ item }}", "INDEX": "${{ index }}"})
PARAMETERS = [
    {"name": "shards", "type": "array", "default": ["a", "b"]},
    {"name": "many", "type": "integer", "default": 2},
    {"name": "text", "default": "3"},
    {"name": "rate", "type": "number", "default": 4.0},
    {"name": "half", "type": "number", "default": 0.5},
    {"name": "large", "type": "number", "default": 12345678.0},
    {"name": "on", "type": "boolean", "default": True},
    {"name": "word", "default": "some"},
]


def fan_out(name: str = "w", **for_each: Any) -> Json:
    return node(name, forEach=for_each, job=ITEM)


def values(for_each: Json, **fields: Any) -> list[Any]:
    """The items of a fan-out, as its jobs are told them."""
    play = Play(dag(fan_out(**for_each), parameters=PARAMETERS, **fields)).go()
    environments = [task["Tasks"][0]["Env"] for task in play.jobs.values()]
    assert [env["INDEX"] for env in environments] == [str(index) for index in range(len(environments))]
    assert play.started == [f"w[{index}]" for index in range(len(environments))]
    return [env["ITEM"] for env in environments]


LISTS: dict[str, tuple[Json, list[str]]] = {
    "a list": ({"items": ["x", 1, True, None]}, ["x", "1", "true", "null"]),
    "lists and objects": ({"items": [[1, 2], {"b": 1, "a": [0]}]}, ["[1, 2]", '{"a": [0], "b": 1}']),
    "one item": ({"items": [""]}, [""]),
    "a parameter": ({"items": "${{ params.shards }}"}, ["a", "b"]),
    "an expression in an item": (
        {"items": ["${{ params.many }}", "x-${{ params.text }}"]},
        ["2", "x-3"],
    ),
    "a computed list": ({"items": "${{ params.shards.map(s, s + '!') }}"}, ["a!", "b!"]),
    "a range": ({"range": {"count": 3}}, ["0", "1", "2"]),
    "a range with start and step": ({"range": {"count": 3, "start": 5, "step": 10}}, ["5", "15", "25"]),
    "a range downwards": ({"range": {"count": 3, "start": 1, "step": -1}}, ["1", "0", "-1"]),
    "a range of expressions": (
        {
            "range": {
                "count": "${{ params.many }}",
                "start": "${{ params.text }}",
                "step": "${{ params.rate }}",
            }
        },
        ["3", "7"],
    ),
    "large numbers with a point": ({"range": {"count": 1, "start": "${{ params.large }}"}}, ["12345678"]),
    "numbers as text": ({"range": {"count": "2", "start": "-1"}}, ["-1", "0"]),
    "a matrix": (
        {"matrix": {"size": [1, 2], "model": ["a", "b"]}},
        [
            '{"model": "a", "size": 1}',
            '{"model": "a", "size": 2}',
            '{"model": "b", "size": 1}',
            '{"model": "b", "size": 2}',
        ],
    ),
    "a matrix of one list": ({"matrix": {"x": [1, 2]}}, ['{"x": 1}', '{"x": 2}']),
    "a matrix of expressions": (
        {"matrix": {"shard": "${{ params.shards }}", "n": ["${{ params.many }}"]}},
        ['{"n": 2, "shard": "a"}', '{"n": 2, "shard": "b"}'],
    ),
    "combinations left out": (
        {"matrix": {"x": [1, 2], "y": [1, 2]}, "exclude": [{"x": 1, "y": 2}]},
        ['{"x": 1, "y": 1}', '{"x": 2, "y": 1}', '{"x": 2, "y": 2}'],
    ),
    "all combinations of one value left out": (
        {"matrix": {"x": [1, 2], "y": [1, 2]}, "exclude": [{"x": 1}]},
        ['{"x": 2, "y": 1}', '{"x": 2, "y": 2}'],
    ),
    "several exclusions": (
        {"matrix": {"x": [1, 2], "y": [1, 2]}, "exclude": [{"x": 1, "y": 1}, {"x": 2, "y": 2}]},
        ['{"x": 1, "y": 2}', '{"x": 2, "y": 1}'],
    ),
    "an exclusion that fits nothing": (
        {"matrix": {"x": [1]}, "exclude": [{"x": 3}]},
        ['{"x": 1}'],
    ),
    "an exclusion of a number, not of what Python takes for it": (
        {"matrix": {"x": [1, True, "1"]}, "exclude": [{"x": 1}]},
        ['{"x": true}', '{"x": "1"}'],
    ),
    "an exclusion by an expression": (
        {"matrix": {"x": [1, 2]}, "exclude": [{"x": "${{ params.many }}"}]},
        ['{"x": 1}'],
    ),
    "items added": (
        {"matrix": {"x": [1]}, "include": [{"x": 9, "more": "z"}, {"y": 0}]},
        ['{"x": 1}', '{"more": "z", "x": 9}', '{"y": 0}'],
    ),
    "what is added is not left out": (
        {"matrix": {"x": [1, 2]}, "exclude": [{"x": 1}], "include": [{"x": 1}]},
        ['{"x": 2}', '{"x": 1}'],
    ),
}


@pytest.mark.parametrize(("for_each", "expected"), LISTS.values(), ids=LISTS.keys())
def test_items_are(for_each: Json, expected: list[str]) -> None:
    assert values(for_each) == expected


def test_an_item_keeps_its_type() -> None:
    engine = {"Type": "wasm", "Params": {"EntryModule": "/t", "Parameters": "${{ item.args }}"}}
    spec = dag(
        node("w", forEach={"items": [{"args": ["a", "b"]}, {"args": []}]}, job=job(Engine=engine)),
    )
    play = Play(spec).go()
    assert [task["Tasks"][0]["Engine"]["Params"]["Parameters"] for task in play.jobs.values()] == [
        ["a", "b"],
        [],
    ]


def test_an_item_reaches_a_template_through_its_arguments() -> None:
    template = {"name": "tool", "parameters": [{"name": "x"}], "job": job(Env={"X": "${{ inputs.x }}"})}
    spec = dag(
        node(
            "w", template="tool", arguments={"x": "${{ item }}-${{ index }}"}, forEach={"items": ["a", "b"]}
        ),
        jobTemplates=[template],
    )
    play = Play(spec).go()
    assert [task["Tasks"][0]["Env"]["X"] for task in play.jobs.values()] == ["a-0", "b-1"]


@pytest.mark.parametrize(
    "for_each",
    [
        {"items": []},
        {"items": "${{ params.none }}"},
        {"range": {"count": 0}},
        {"range": {"count": "${{ 1 - 1 }}"}},
        {"matrix": {"x": [1, 2], "y": []}},
        {"matrix": {"x": [1, 2]}, "exclude": [{}]},
    ],
)
def test_a_fan_out_without_items_is_skipped(for_each: Json) -> None:
    spec = dag(
        fan_out(**for_each),
        node("after", after=["w"], inputs=["w"]),
        parameters=[{"name": "none", "type": "array", "default": []}],
    )
    play = Play(spec).go()
    state = play.node("w")
    assert (state.phase, state.reason, state.message) == (P.SKIPPED, "NoItems", "forEach has no items")
    assert play.items("w") == []
    assert play.started == ["after"]
    assert play.see(after=completed()).run.phase is RunPhase.SUCCEEDED


# What can be known before the run

LONG = MAX_NODES + 1
MISTAKES: dict[str, tuple[Json, str]] = {
    "nothing": ({}, "spec.nodes[w].forEach: forEach has exactly one of items, range and matrix."),
    "two lists": (
        {"items": [1], "range": {"count": 1}},
        "spec.nodes[w].forEach: forEach has exactly one of items, range and matrix.",
    ),
    "all three": (
        {"items": [1], "range": {"count": 1}, "matrix": {"x": [1]}},
        "spec.nodes[w].forEach: forEach has exactly one of items, range and matrix.",
    ),
    "more to succeed than there are": (
        {"items": "${{ params.shards }}", "minSucceeded": 3},
        "spec.nodes[w].forEach.minSucceeded: 3 items cannot succeed where there are 2; lower it, or remove it to have all succeed.",
    ),
    "items that are text": (
        {"items": "a,b"},
        'spec.nodes[w].forEach.items: "a,b" is not a list, nor an expression that could give one.',
    ),
    "items that are an object": (
        {"items": {"a": 1}},
        'spec.nodes[w].forEach.items: {"a": 1} is not a list, nor an expression that could give one.',
    ),
    "items that become text": (
        {"items": "${{ params.word }}"},
        'spec.nodes[w].forEach.items: "some" is not a list.',
    ),
    "items that become a longer text": (
        {"items": "${{ params.shards }} and more"},
        'spec.nodes[w].forEach.items: "["a", "b"] and more" is not a list.',
    ),
    "items without a value": (
        {"items": "${{ params.shards[7] }}"},
        "spec.nodes[w].forEach.items: ${{ params.shards[7] }} has no value: ",
    ),
    "exclude without a matrix": (
        {"items": [1], "exclude": [{"a": 1}]},
        "spec.nodes[w].forEach.exclude: exclude belongs to a matrix.",
    ),
    "include without a matrix": (
        {"range": {"count": 1}, "include": [{"a": 1}]},
        "spec.nodes[w].forEach.include: include belongs to a matrix.",
    ),
    "exclude of an unknown list": (
        {"matrix": {"size": [1]}, "exclude": [{"siez": 1}]},
        'spec.nodes[w].forEach.exclude: "siez" is not a list of the matrix.',
    ),
    "a count that is text": (
        {"range": {"count": "many"}},
        'spec.nodes[w].forEach.range.count: "many" is not a whole number.',
    ),
    "a count that becomes a part": (
        {"range": {"count": "${{ params.half }}"}},
        "spec.nodes[w].forEach.range.count: 0.5 is not a whole number.",
    ),
    "a count that becomes a truth value": (
        {"range": {"count": "${{ params.on }}"}},
        "spec.nodes[w].forEach.range.count: true is not a whole number.",
    ),
    "a count that becomes a list": (
        {"range": {"count": "${{ params.shards }}"}},
        'spec.nodes[w].forEach.range.count: ["a", "b"] is not a whole number.',
    ),
    "a start that is text": (
        {"range": {"count": 1, "start": "one"}},
        'spec.nodes[w].forEach.range.start: "one" is not a whole number.',
    ),
    "a step that is text": (
        {"range": {"count": 1, "step": "one"}},
        'spec.nodes[w].forEach.range.step: "one" is not a whole number.',
    ),
    "a count below 0": (
        {"range": {"count": -1}},
        "spec.nodes[w].forEach.range.count: -1 is less than 0.",
    ),
    "a step of 0": (
        {"range": {"count": 2, "step": 0}},
        "spec.nodes[w].forEach.range.step: 0 would repeat one number; write 1 or another step.",
    ),
    "a number without end": (
        {"range": {"count": 10**12}},
        "spec.nodes[w].forEach.range.count: 1000000000000 is not a whole number.",
    ),
    "too long a range": (
        {"range": {"count": LONG}},
        f"spec.nodes[w].forEach: {LONG} items are too many; a DAG has at most {MAX_NODES} nodes.",
    ),
    "too long a list": (
        {"items": [0] * LONG},
        f"spec.nodes[w].forEach: {LONG} items are too many; a DAG has at most {MAX_NODES} nodes.",
    ),
    "too large a matrix": (
        {"matrix": {name: list(range(10)) for name in "abcd"}, "exclude": [{"a": 1}]},
        f"spec.nodes[w].forEach.matrix: 10000 combinations are too many; a DAG has at most {MAX_NODES} nodes.",
    ),
    "a matrix of something else": (
        {"matrix": {"ok": [1], "size": "large"}},
        'spec.nodes[w].forEach.matrix.size: "large" is not a list.',
    ),
    "a matrix of what becomes something else": (
        {"matrix": {"size": "${{ params.many }}"}},
        "spec.nodes[w].forEach.matrix.size: 2 is not a list.",
    ),
    "an unknown parameter": (
        {"items": "${{ params.shard }}"},
        'spec.nodes[w].forEach: the expression params.shard: "shard" is not a parameter of the DAG; did you mean "shards"?',
    ),
    "an unknown node": (
        {"range": {"count": "${{ nodes.x.json }}"}},
        'spec.nodes[w].forEach: the expression nodes.x: "x" is not a node of this DAG.',
    ),
    "the fan-out itself": (
        {"items": "${{ nodes.w.json }}"},
        'spec.nodes[w]: the expression nodes.w: "w" cannot depend on itself.',
    ),
    "the items themselves": (
        {"items": ["${{ item }}"]},
        "spec.nodes[w].forEach.items[0]: the expression \"item\" is wrong: column 1: undeclared reference to 'item'; ",
    ),
    "an expression in bad order": (
        {"matrix": {"x": ["${{ 1 + }}"]}},
        'spec.nodes[w].forEach.matrix.x[0]: the expression "1 +" is wrong: ',
    ),
    "a list in bad order": (
        {"items": "${{ 1 + }}"},
        'spec.nodes[w].forEach.items: the expression "1 +" is wrong: ',
    ),
    "a matrix of nothing": ({"matrix": {}}, "spec.nodes[w].forEach.matrix: a matrix has at least one list."),
}


@pytest.mark.parametrize(("for_each", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_by_field_and_value(for_each: Json, expected: str) -> None:
    found = problems(dag(fan_out(**for_each), parameters=PARAMETERS))
    assert [problem for problem in found if problem.startswith(expected)] == found


@pytest.mark.parametrize("for_each", [{"items": [0] * MAX_NODES}, {"range": {"count": MAX_NODES}}])
def test_a_list_may_be_as_long_as_a_graph(for_each: Json) -> None:
    Graph.compile(dag(fan_out(**for_each)))


def test_an_approval_is_not_asked_for_many_times() -> None:
    approval = {"name": "ask", "suspend": {}, "forEach": {"items": [1]}}
    assert problems(dag(approval)) == [
        "spec.nodes[ask].forEach: an approval is asked for once; forEach needs a job or a template."
    ]


def test_an_output_is_of_one_result() -> None:
    (problem,) = problems(dag(fan_out(items=[1]), outputs=[{"name": "o", "from": "w"}]))
    assert problem == (
        'spec.outputs[0].from: "w" has a result for each item, and an output is one result; '
        "name a node that reads them all."
    )


def test_files_are_listed_of_one_result() -> None:
    reader = node("r", forEach={"items": "${{ nodes.w.outputs.files }}"})
    assert problems(dag(fan_out(items=[1]), reader)) == [
        'spec.nodes[r]: nodes.w.outputs.files: "w" has a result for each item; read nodes.w.items instead.'
    ]


@pytest.mark.parametrize("variable", ["item", "index"])
def test_only_a_fan_out_has_items(variable: str) -> None:
    for place, fields in (
        ("when", {"when": f"{variable} == 1"}),
        ("inputs[0].output", {"inputs": [{"from": "a", "output": f"${{{{ {variable} }}}}"}]}),
        ("arguments.x", {"template": "tool", "arguments": {"x": f"${{{{ {variable} }}}}"}}),
    ):
        template = {"name": "tool", "parameters": [{"name": "x"}], "job": job()}
        (problem,) = problems(dag(node("a"), node("b", **fields), jobTemplates=[template]))
        assert problem.startswith(f"spec.nodes[b].{place}: the expression ")
        assert f"undeclared reference to '{variable}'" in problem


def test_a_template_does_not_know_who_uses_it() -> None:
    template = {"name": "tool", "job": job(Env={"X": "${{ item }}"})}
    found = problems(dag(node("w", template="tool", forEach={"items": [1]}), jobTemplates=[template]))
    assert found[0].startswith('spec.jobTemplates[tool].job.Tasks[0].Env.X: the expression "item" is wrong')


def test_a_retry_s_condition_is_on_the_attempt_alone() -> None:
    retried = node("w", forEach={"items": [1]}, retry={"limit": 1, "condition": "item == 1"})
    (problem,) = problems(dag(retried))
    assert problem.startswith("spec.nodes[w].retry.condition: ")


# What can only be known in the run


@pytest.mark.parametrize(
    ("source", "stdout", "message"),
    [
        ("${{ nodes.a.stdout }}", "a b", 'spec.nodes[w].forEach.items: "a b" is not a list.'),
        (
            "${{ nodes.a.json }}",
            "a b",
            "spec.nodes[w].forEach.items: null is not a list; .json is null where a program printed no JSON.",
        ),
        ("${{ nodes.a.json }}", '{"a": 1}', 'spec.nodes[w].forEach.items: {"a": 1} is not a list.'),
        (
            "${{ nodes.a.json.list }}",
            "{}",
            "spec.nodes[w].forEach.items: ${{ nodes.a.json.list }} has no value",
        ),
        (
            "${{ nodes.a.json }}",
            "[" + "1," * MAX_NODES + "1]",
            f"spec.nodes[w].forEach: {LONG} items are too many; a DAG has at most {MAX_NODES} nodes.",
        ),
    ],
)
def test_a_list_that_turns_out_wrong_is_an_error_of_the_node(source: str, stdout: str, message: str) -> None:
    play = Play(dag(node("a"), fan_out(items=source), node("b", after=["w"]), failurePolicy="RunAll"))
    play.go().see(a=completed(stdout=stdout))
    state = play.node("w")
    assert (state.phase, state.reason) == (P.ERROR, "InvalidJob")
    assert (state.message or "").startswith(message)
    assert play.phases == {"a": P.SUCCEEDED, "w": P.ERROR, "b": P.OMITTED}
    assert play.events[0] == ("NodeError", f'Node "w": {state.message}')
    assert play.run.phase is RunPhase.ERROR


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"range": {"count": "${{ nodes.a.stdout }}"}}, 'range.count: "many" is not a whole number.'),
        (
            {"range": {"count": 1, "step": "${{ nodes.a.stdout }}"}},
            'range.step: "many" is not a whole number.',
        ),
        ({"matrix": {"x": [1], "y": "${{ nodes.a.stdout }}"}}, 'matrix.y: "many" is not a list.'),
    ],
)
def test_the_part_that_turns_out_wrong_is_named(part: Json, message: str) -> None:
    play = Play(dag(node("a"), fan_out(**part))).go().see(a=completed(stdout="many"))
    assert play.node("w").message == f"spec.nodes[w].forEach.{message}"


def test_a_wrong_list_is_not_tried_again() -> None:
    document = fan_out(items="${{ nodes.a.json }}") | {"retry": {"limit": 3, "policy": "Always"}}
    play = Play(dag(node("a"), document)).go().see(a=completed(stdout="no"))
    assert play.phases["w"] is P.ERROR


@pytest.mark.parametrize("stdout", ['["x", "y"]', '["x", "y"]\n', '[\n  "x",\n  "y"\n]\n\n'])
def test_items_come_from_what_a_program_printed(stdout: str) -> None:
    play = Play(dag(node("a"), fan_out(items="${{ nodes.a.json }}"))).go()
    assert play.started == ["a"]
    play.see(a=completed(stdout=stdout))
    assert [task["Tasks"][0]["Env"]["ITEM"] for task in play.jobs.values()] == ["x", "y"]


# All nodes together


def test_all_nodes_together_are_bounded() -> None:
    half = MAX_NODES // 2
    documents = [fan_out("v", range={"count": half}), fan_out("w", range={"count": half - 1})]
    play = Play(dag(*documents, node("z"), failurePolicy="RunAll"), parallelism=1).go()
    total = MAX_NODES + 2
    state = play.node("w")
    assert (state.phase, state.reason) == (P.ERROR, "InvalidJob")
    assert state.message == (
        f"spec.nodes[w].forEach: {half - 1} items would make {total} nodes; a DAG has at most {MAX_NODES}."
    )
    assert len(play.items("v")) == half
    assert play.items("w") == []


def test_a_graph_may_be_as_large_as_the_bound() -> None:
    play = Play(dag(fan_out(range={"count": MAX_NODES - 2}), node("z")), parallelism=1).go()
    assert len(play.phases) == MAX_NODES
    assert play.node("w").phase is P.RUNNING

"""Parameters, their types and their values."""

from typing import Any

import pytest

from controller.api.dag import DAGSpec
from controller.api.parameters import DAGParameter, Parameter, ParameterType
from controller.api.status import MAX_RECORDED, NodePhase
from controller.engine import Graph, InvalidDAG, default_text, values_of
from controller.engine.parameters import argument_problems, bound, has_type
from tests.support.builders import Json, Play, dag, job, node

VALUES: dict[str, Any] = {
    "string": "x",
    "number": 1.5,
    "integer": 2,
    "boolean": True,
    "array": [1],
    "object": {"a": 1},
}


@pytest.mark.parametrize("expected", ParameterType)
@pytest.mark.parametrize("given", VALUES)
def test_types_are_those_of_json(expected: ParameterType, given: str) -> None:
    matches = given == expected.value or (given, expected) == ("integer", ParameterType.NUMBER)
    assert has_type(VALUES[given], expected) is matches


@pytest.mark.parametrize("expected", ParameterType)
def test_null_is_of_no_type(expected: ParameterType) -> None:
    assert not has_type(None, expected)


def test_an_argument_takes_the_place_of_a_default() -> None:
    parameters = [Parameter(name="a", default="x"), Parameter(name="b", default="y"), Parameter(name="c")]
    assert bound(parameters, {"b": "given"}) == {"a": "x", "b": "given"}


def test_a_default_of_null_is_a_default() -> None:
    assert Parameter(name="a", default=None).has_default
    assert not Parameter(name="a").has_default


def test_problems_come_in_the_same_order_each_time() -> None:
    arguments = dict.fromkeys(["z", "y", "x", "w"], 1)
    problems = argument_problems([], arguments, field="spec.arguments", owner="the DAG")
    assert [problem.field[-1] for problem in problems] == ["w", "x", "y", "z"]


# What is wrong with a DAG's parameters


def problems(spec: DAGSpec) -> list[str]:
    """What is wrong with a DAG."""
    with pytest.raises(InvalidDAG) as caught:
        Graph.compile(spec)
    return [str(problem) for problem in caught.value.problems]


def taking(*parameters: Json, **arguments: Any) -> DAGSpec:
    """A DAG with these parameters and arguments."""
    return dag(node("a"), parameters=list(parameters), arguments=arguments)


def templated(parameter: Json, **arguments: Any) -> DAGSpec:
    """A DAG whose node uses a template with one parameter."""
    template = {"name": "tool", "parameters": [parameter], "job": job()}
    return dag(node("a", template="tool", arguments=arguments), jobTemplates=[template])


MODE: Json = {"name": "mode", "enum": ["quick", "full"]}
CONFIG_MAP: Json = {"configMapKeyRef": {"name": "settings", "key": "mode"}}
OPTIONAL: Json = {"configMapKeyRef": {"name": "settings", "key": "mode", "optional": True}}
SECRET: Json = {"secretKeyRef": {"name": "login", "key": "token"}}

MISTAKES: dict[str, tuple[DAGSpec, str]] = {
    "value not allowed": (
        taking(MODE, mode="fast"),
        'spec.arguments.mode: "fast" is not among the values that "mode" may have: "quick", "full".',
    ),
    "default not allowed": (
        taking(MODE | {"default": "fast"}),
        'spec.parameters[0].default: "fast" is not among the values that "mode" may have: "quick", "full".',
    ),
    "allowed value of another type": (
        taking({"name": "n", "type": "integer", "enum": [1, "2"]}, n=1),
        'spec.parameters[0].enum[1]: "2" is not of type integer.',
    ),
    "allowed value of another type, whatever the default": (
        taking({"name": "n", "type": "integer", "enum": ["2"], "default": 7}),
        'spec.parameters[0].enum[0]: "2" is not of type integer.',
    ),
    "value of another type, whatever is allowed": (
        taking({"name": "n", "type": "integer", "enum": [1, 2]}, n=True),
        "spec.arguments.n: true is not of type integer.",
    ),
    "value of another type, told once": (
        taking({"name": "n", "type": "integer", "enum": [1, 2]}, n="3"),
        'spec.arguments.n: "3" is not of type integer.',
    ),
    "value of a template not allowed": (
        templated(MODE, mode="fast"),
        'spec.nodes[a].arguments.mode: "fast" is not among the values that "mode" may have: "quick", "full".',
    ),
    "default of a template not allowed": (
        templated(MODE | {"default": "fast"}),
        'spec.jobTemplates[tool].parameters[0].default: "fast" is not among the values that "mode" may have: '
        '"quick", "full".',
    ),
    "value from nowhere": (
        taking({"name": "p", "valueFrom": {}}),
        "spec.parameters[p].valueFrom: a value comes from exactly one of configMapKeyRef and secretKeyRef.",
    ),
    "value from two places": (
        taking({"name": "p", "valueFrom": CONFIG_MAP | SECRET}),
        "spec.parameters[p].valueFrom: a value comes from exactly one of configMapKeyRef and secretKeyRef.",
    ),
    "default that nothing takes": (
        taking({"name": "p", "default": "x", "valueFrom": CONFIG_MAP}),
        "spec.parameters[p].valueFrom.configMapKeyRef.optional: a default is for a value that may be missing: "
        "write both optional: true and a default, or neither.",
    ),
    "optional without a default": (
        taking({"name": "p", "valueFrom": OPTIONAL}),
        "spec.parameters[p].valueFrom.configMapKeyRef.optional: a default is for a value that may be missing: "
        "write both optional: true and a default, or neither.",
    ),
    "number from a Secret": (
        taking({"name": "p", "type": "integer", "valueFrom": SECRET}),
        "spec.parameters[p].type: a value from a Secret is of type string.",
    ),
    "default of a Secret": (
        taking({"name": "p", "default": "x", "valueFrom": SECRET}),
        "spec.parameters[p].default: a value from a Secret has no default.",
    ),
    "allowed values of a Secret": (
        taking({"name": "p", "enum": ["x"], "valueFrom": SECRET}),
        "spec.parameters[p].enum: a value from a Secret is not checked; remove enum.",
    ),
    "value of a Secret in the DAG": (
        taking({"name": "p", "valueFrom": SECRET}, p="s3cret"),
        'spec.arguments.p: the value of "p" comes from a Secret; remove it here, where everybody can read it.',
    ),
}


@pytest.mark.parametrize(("spec", "problem"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_wrong_is_said_before_the_run(spec: DAGSpec, problem: str) -> None:
    assert problems(spec) == [problem]


@pytest.mark.parametrize(
    "spec",
    [
        taking(MODE, mode="full"),
        taking(MODE | {"default": "quick"}),
        taking({"name": "n", "type": "number", "enum": [1, 2.5]}, n=1.0),
        taking({"name": "p", "valueFrom": CONFIG_MAP}),
        taking({"name": "p", "valueFrom": CONFIG_MAP}, p="given"),
        taking({"name": "p", "default": "x", "valueFrom": OPTIONAL}),
        taking({"name": "p", "valueFrom": SECRET}),
        templated(MODE, mode="${{ dag.name }}"),
    ],
    ids=[
        "allowed",
        "allowed default",
        "equal numbers",
        "config map",
        "argument instead",
        "optional",
        "secret",
        "not known yet",
    ],
)
def test_what_is_right_is_accepted(spec: DAGSpec) -> None:
    assert Graph.compile(spec).index == {"a": 0}


def test_a_value_of_a_template_is_checked_when_it_is_known() -> None:
    play = Play(templated(MODE, mode="${{ dag.name }}")).go()
    assert play.node("a").phase is NodePhase.ERROR
    assert play.node("a").message == (
        'spec.nodes[a].arguments.mode: "count" is not among the values that "mode" may have: "quick", "full".'
    )


# Values out of ConfigMaps


def test_only_what_is_not_given_is_read_from_config_maps() -> None:
    parameters = [{"name": name, "valueFrom": CONFIG_MAP} for name in ("a", "b")]
    graph = Graph.compile(taking(*parameters, {"name": "c", "default": ""}, a="given"))
    assert [parameter.name for parameter in graph.from_config_maps] == ["b"]
    assert graph.with_values({"b": "read"}).params == {"a": "given", "b": "read", "c": ""}


def test_items_of_a_fan_out_may_come_from_a_config_map() -> None:
    parameter = {"name": "items", "type": "array", "valueFrom": CONFIG_MAP}
    spec = dag(node("a", forEach={"items": "${{ params.items }}"}), parameters=[parameter])
    play = Play(spec)
    play.graph = play.graph.with_values({"items": ["x", "y"]})
    play.begin(None)
    assert play.go().started == ["a[0]", "a[1]"]


@pytest.mark.parametrize(
    ("declared", "text", "value"),
    [
        ("string", "7\n", "7\n"),
        ("integer", " 7\n", 7),
        ("number", "1.0", 1.0),
        ("boolean", "true", True),
        ("array", '["a", null]', ["a", None]),
        ("object", '{"a": null, "n": 1.0}', {"a": None, "n": 1.0}),
    ],
)
def test_a_text_is_read_as_json_unless_it_is_a_string(declared: str, text: str, value: Any) -> None:
    parameter = DAGParameter.model_validate({"name": "p", "type": declared, "valueFrom": CONFIG_MAP})
    assert values_of([parameter], {"p": text}) == {"p": value}


@pytest.mark.parametrize(
    ("fields", "text", "problem"),
    [
        ({"type": "integer"}, "seven", '"seven" is not JSON of type integer.'),
        ({"type": "integer"}, "", '"" is not JSON of type integer.'),
        ({"type": "integer"}, "7.5", "7.5 is not of type integer."),
        ({"type": "number"}, "NaN", '"NaN" is not JSON of type number.'),
        ({"type": "integer"}, "9" * 5000, f'"{"9" * 78}… is not JSON of type integer.'),
        ({"type": "array"}, "[" * 100_000, f'"{"[" * 78}… is not JSON of type array.'),
        ({"enum": ["x"]}, "y", '"y" is not among the values that "p" may have: "x".'),
    ],
    ids=["word", "nothing", "fraction", "not a number", "endless number", "endless nesting", "enum"],
)
def test_a_text_that_is_not_the_value_it_should_be_is_refused(fields: Json, text: str, problem: str) -> None:
    parameter = DAGParameter.model_validate({"name": "p", "valueFrom": CONFIG_MAP} | fields)
    with pytest.raises(InvalidDAG) as caught:
        values_of([parameter], {"p": text})
    assert f"spec.parameters[p].valueFrom.configMapKeyRef: {problem}" in map(str, caught.value.problems)


def test_a_value_that_is_missing_is_named() -> None:
    parameters = taking({"name": "p", "valueFrom": CONFIG_MAP}).parameters
    place = r"spec\.parameters\[p\]\.valueFrom\.configMapKeyRef"
    with pytest.raises(InvalidDAG, match=f"{place}: there is no value"):
        values_of(parameters, {})


def test_no_more_is_read_than_a_status_holds() -> None:
    parameters = [DAGParameter.model_validate({"name": name, "valueFrom": CONFIG_MAP}) for name in ("a", "b")]
    half = MAX_RECORDED // 2
    assert values_of(parameters, {"a": "x" * half, "b": "y" * half})
    with pytest.raises(InvalidDAG, match=f"the values from ConfigMaps have {MAX_RECORDED + 1} characters"):
        values_of(parameters, {"a": "x" * half, "b": "y" * (half + 1)})


@pytest.mark.parametrize("default", ["text", "7", 7, 1.0, {"a": None}, [True]])
def test_a_default_is_written_down_so_that_it_can_be_read_again(default: Any) -> None:
    declared = next(kind for kind in ParameterType if has_type(default, kind))
    fields = {"name": "p", "type": declared, "default": default, "valueFrom": OPTIONAL}
    parameter = DAGParameter.model_validate(fields)
    assert values_of([parameter], {"p": default_text(parameter)}) == {"p": default}

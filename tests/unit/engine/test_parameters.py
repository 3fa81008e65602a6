"""Parameters, their types and their values."""

from typing import Any

import pytest

from controller.api.parameters import Parameter, ParameterType
from controller.engine.parameters import argument_problems, bound, has_type

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

"""``depends`` as text: what it can say, how it binds, and how its mistakes are told."""

from collections import Counter

import pytest

from controller.api.status import NodePhase
from controller.engine.logic import RESULTS, Logic, LogicError, parse_logic
from controller.engine.state import NodeState

P = NodePhase
NAMES = ("a", "b", "c", "count-0", "v1.2", "v1.Failed", "2nd", "x_y")


def holds(source: str, **phases: NodePhase) -> bool:
    """Whether it holds if nodes ended so; those that are not named succeeded."""
    return parse_logic(source, NAMES).holds(lambda name: NodeState(phase=phases.get(name, P.SUCCEEDED)))


@pytest.mark.parametrize(
    ("result", "phase"),
    [
        ("Succeeded", P.SUCCEEDED),
        ("Failed", P.FAILED),
        ("Errored", P.ERROR),
        ("Skipped", P.SKIPPED),
        ("Omitted", P.OMITTED),
        ("Cancelled", P.CANCELLED),
    ],
)
def test_each_result_is_true_of_one_end_alone(result: str, phase: NodePhase) -> None:
    assert result in RESULTS
    true_of = {end for end in P if end.is_terminal and holds(f"a.{result}", a=end)}
    assert true_of == {phase}


def test_a_bare_name_means_succeeded_or_skipped() -> None:
    assert {end for end in P if holds("a", a=end)} == {P.SUCCEEDED, P.SKIPPED}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a.Failed || b && c.Failed", False),
        ("b || a.Failed && c.Failed", True),
        ("(b || a.Failed) && c.Failed", False),
        ("!a.Failed && b", True),
        ("!(a.Failed && b)", True),
        ("!(a && b)", False),
        ("!!a", True),
        ("!a || b", True),
        ("!(a || b)", False),
        ("a&&b&&c", True),
        ("a.Failed||b.Failed||c", True),
        ("  (  ( a )  )  ", True),
        ("a\n&& b\t&& c", True),
    ],
)
def test_not_binds_before_and_and_and_before_or(source: str, expected: bool) -> None:
    assert holds(source) is expected


@pytest.mark.parametrize(
    ("ends", "any_succeeded", "all_failed"),
    [
        pytest.param(None, False, False, id="items that are not known"),
        pytest.param({}, False, False, id="no items"),
        pytest.param({P.SUCCEEDED: 2}, True, False, id="all succeeded"),
        pytest.param({P.SUCCEEDED: 1, P.FAILED: 9}, True, False, id="one succeeded"),
        pytest.param({P.FAILED: 2}, False, True, id="all failed"),
        pytest.param({P.ERROR: 1}, False, True, id="an error"),
        pytest.param({P.FAILED: 1, P.ERROR: 1}, False, True, id="failed and errors"),
        pytest.param({P.FAILED: 1, P.SKIPPED: 1}, False, False, id="failed and skipped"),
        pytest.param({P.CANCELLED: 1}, False, False, id="cancelled"),
        pytest.param({P.SKIPPED: 3}, False, False, id="skipped"),
    ],
)
def test_what_can_be_asked_of_items(
    ends: dict[NodePhase, int] | None, any_succeeded: bool, all_failed: bool
) -> None:
    items = None if ends is None else Counter(ends)
    for result, expected in (("AnySucceeded", any_succeeded), ("AllFailed", all_failed)):
        logic = parse_logic(f"a.{result}", NAMES, fan_outs=["a"])
        assert list(logic.names()) == ["a"]
        assert logic.holds(lambda _: NodeState(items=items)) is expected


@pytest.mark.parametrize("result", ["AnySucceeded", "AllFailed"])
def test_what_is_asked_of_items_needs_items(result: str) -> None:
    with pytest.raises(LogicError, match=rf'^{result} is said of nodes with forEach, and "a" has none$'):
        parse_logic(f"a.{result}", NAMES, fan_outs=["b"])
    with pytest.raises(LogicError, match=r'^"zz" is not a node of this DAG$'):
        parse_logic(f"zz.{result}", NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_written_as_they_are(name: str) -> None:
    logic = parse_logic(f"{name} && !{name}.Errored", NAMES)
    assert list(logic.names()) == [name, name]
    assert logic.holds(lambda _: NodeState(phase=P.SUCCEEDED))


def test_a_dot_may_belong_to_a_name_or_lead_to_a_result() -> None:
    """A node's name wins over a result, since nothing else could mean that node."""
    assert list(parse_logic("v1.Failed", NAMES).names()) == ["v1.Failed"]
    assert list(parse_logic("v1.Failed", ["v1"]).names()) == ["v1"]
    assert list(parse_logic("v1.Failed.Failed", NAMES).names()) == ["v1.Failed"]
    assert not holds("v1.2.Failed")


def test_every_node_is_named_in_order() -> None:
    assert list(parse_logic("c && (a.Failed || !b) && a", NAMES).names()) == ["c", "a", "b", "a"]


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("", "it ends where the name of a node is expected"),
        ("a &&", "it ends where the name of a node is expected"),
        ("!", "it ends where the name of a node is expected"),
        ("(a || b", 'a ")" is missing'),
        ("a)", '")" is not expected here; write && or || between terms'),
        ("a b", '"b" is not expected here; write && or || between terms'),
        ("a & b", '"&" is not expected here; write && or || between terms'),
        ("a || || b", '"||" is not a node of this DAG'),
        (
            "a.Fail",
            '"Fail" is not a result; write one of Succeeded, Failed, Errored, Skipped, Omitted, Cancelled, AnySucceeded, AllFailed',
        ),
        ("a.failed", '"failed" is not a result'),
        ("a.Daemoned", '"Daemoned" is not a result'),
        ("zz", '"zz" is not a node of this DAG'),
        ("zz.Failed", '"zz" is not a node of this DAG'),
        ("Failed", '"Failed" is not a node of this DAG'),
        ("zz.top", '"zz.top" is not a node of this DAG'),
        ("a == b", '"=" is not expected here'),
        ("'a'", '"\'" is not a node of this DAG'),
    ],
)
def test_a_mistake_is_named(source: str, problem: str) -> None:
    with pytest.raises(LogicError) as caught:
        parse_logic(source, NAMES)
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize(("opening", "most"), [("(", 49), ("!", 49), ("!(", 24)])
def test_nesting_has_a_bound_and_not_python_s(opening: str, most: int) -> None:
    def nested(times: int) -> Logic:
        return parse_logic(opening * times + "a" + ")" * opening.count("(") * times, NAMES)

    assert list(nested(most).names()) == ["a"]
    for times in (most + 1, 2000):
        with pytest.raises(LogicError, match="it is nested more than 50 deep"):
            nested(times)


def test_what_stands_before_makes_no_room_for_deeper_nesting() -> None:
    with pytest.raises(LogicError, match="nested"):
        parse_logic("a && " * 100 + "(" * 50 + "a" + ")" * 50, NAMES)


def test_a_long_row_of_terms_is_not_nested() -> None:
    assert holds(" || ".join(["a.Failed"] * 500 + ["b"]))

"""When a node starts, is skipped, or is omitted: dependencies, ``depends`` and ``when``."""

from typing import Any

import pytest

from controller.api.bacalhau import JobSighting
from controller.api.status import NodePhase, RunPhase
from tests.support.builders import Json, Play, completed, dag, failed, node, running, stopped
from tests.unit.engine.test_graph import problems

P = NodePhase

ENDS: dict[NodePhase, JobSighting] = {
    P.SUCCEEDED: completed(),
    P.FAILED: completed(3),
    P.ERROR: failed(),
    P.CANCELLED: stopped("by hand"),
}


def play(*nodes: Json, **fields: Any) -> Play:
    return Play(dag(*nodes, **{"failurePolicy": "RunAll"} | fields)).go(after=10)


def ended(end: NodePhase, **fields: Any) -> Play:
    """A run whose node ``a`` ended so; ``b`` comes after it, with these fields."""
    more: Json = {}
    nodes = [node("b", **fields)]
    if end is P.SKIPPED:
        more["when"] = "false"
    if end is P.OMITTED:
        more["after"] = ["bad"]
        nodes.append(node("bad"))
    run = play(node("a", **more), *nodes)
    if end is P.OMITTED:
        run.see(bad=completed(1))
    if end in ENDS:
        run.see(a=ENDS[end])
    assert run.phases["a"] is end
    return run


# Plain dependencies


@pytest.mark.parametrize("end", [phase for phase in P if phase.is_terminal])
def test_dependants_run_after_success_and_after_a_skip(end: NodePhase) -> None:
    run = ended(end, after=["a"])
    runs = end in (P.SUCCEEDED, P.SKIPPED)
    assert run.phases["b"] is (P.SUBMITTED if runs else P.OMITTED)
    if not runs:
        assert run.node("b").reason == "DependencyNotMet"
        assert run.node("b").message == 'node "a" did not succeed'


@pytest.mark.parametrize("end", list(ENDS))
def test_dependants_of_a_node_that_may_fail_run_however_it_ended(end: NodePhase) -> None:
    run = play(node("a", continueOnFailure=True), node("b", after=["a"])).see(a=ENDS[end])
    assert run.started == ["b"]


def test_a_node_that_may_fail_but_never_started_is_no_reason_to_go_on() -> None:
    run = play(node("bad"), node("a", after=["bad"], continueOnFailure=True), node("b", after=["a"]))
    run.see(bad=completed(1))
    assert (run.phases["a"], run.phases["b"]) == (P.OMITTED, P.OMITTED)


def test_one_dependency_that_did_not_go_well_decides_at_once() -> None:
    run = play(node("a"), node("slow"), node("b", after=["a", "slow"])).see(a=completed(1))
    assert run.phases["b"] is P.OMITTED


# depends


@pytest.mark.parametrize("end", [phase for phase in P if phase.is_terminal])
@pytest.mark.parametrize(
    ("depends", "runs_after"),
    [
        ("a", {P.SUCCEEDED, P.SKIPPED}),
        ("a.Succeeded", {P.SUCCEEDED}),
        ("a.Failed || a.Errored", {P.FAILED, P.ERROR}),
        ("a.Omitted || a.Skipped", {P.OMITTED, P.SKIPPED}),
        ("a.Cancelled", {P.CANCELLED}),
        ("!a.Succeeded", {phase for phase in P if phase.is_terminal} - {P.SUCCEEDED}),
    ],
)
def test_depends_decides_by_how_a_node_ended(
    depends: str, runs_after: set[NodePhase], end: NodePhase
) -> None:
    run = ended(end, depends=depends)
    assert run.phases["b"] is (P.SUBMITTED if end in runs_after else P.OMITTED)


def test_depends_is_not_decided_before_all_it_names_have_ended() -> None:
    run = play(node("a"), node("slow"), node("b", depends="a || slow"), node("c", depends="a && slow"))
    assert run.see(a=completed(1)).started == []
    assert (run.phases["b"], run.phases["c"]) == (P.PENDING, P.PENDING)
    assert run.see(slow=running()).started == []
    assert run.see(slow=completed()).started == ["b"]
    assert run.phases["c"] is P.OMITTED


def test_depends_says_why_it_is_false() -> None:
    run = play(node("a-1"), node("b"), node("c", depends="a-1.Failed && (b || a-1.Errored)"))
    run.see(**{"a-1": completed(), "b": completed(1)})
    state = run.node("c")
    assert (state.phase, state.reason) == (P.OMITTED, "DependencyNotMet")
    assert state.message == (
        'depends is false: "a-1.Failed && (b || a-1.Errored)" (a-1 is Succeeded, b is Failed)'
    )


def test_depends_waits_for_a_node_s_last_attempt() -> None:
    run = play(node("a", retry={"limit": 1}), node("b", depends="a.Failed"), node("c", depends="a"))
    run.see(a=completed(1))
    assert (run.phases["b"], run.phases["c"]) == (P.PENDING, P.PENDING)
    assert run.see(a=completed(1)).started == ["b"]
    assert run.phases["c"] is P.OMITTED


def test_inputs_beside_depends_are_waited_for_but_do_not_decide() -> None:
    inputs = [{"from": "data", "optional": True}]
    run = play(node("a"), node("data"), node("b", depends="a.Failed", inputs=inputs))
    assert run.see(a=completed(1)).phases["b"] is P.PENDING
    assert run.see(data=completed(2, cid=None)).started == ["b"]


def test_continue_on_failure_says_nothing_to_depends() -> None:
    run = play(node("a", continueOnFailure=True), node("b", depends="a.Succeeded")).see(a=completed(1))
    assert run.phases["b"] is P.OMITTED


def test_a_chain_of_depends_is_decided_at_once() -> None:
    run = play(
        node("a"),
        node("b", depends="a.Failed"),
        node("c", depends="b.Omitted"),
        node("d", depends="b"),
        node("e", depends="d.Omitted && c.Succeeded"),
    )
    assert run.see(a=completed()).started == ["c"]
    assert run.see(c=completed()).started == ["e"]
    run.see(e=completed())
    assert run.run.phase is RunPhase.SUCCEEDED


# when

FLIP: Json = {"after": ["flip"], "when": 'nodes.flip.stdout == "heads"'}


def test_a_node_runs_if_its_condition_holds() -> None:
    run = play(node("flip"), node("b", **FLIP))
    assert run.see(flip=completed(stdout="heads")).started == ["b"]


def test_a_node_is_skipped_if_its_condition_is_false_and_its_dependants_still_run() -> None:
    run = play(node("flip"), node("b", **FLIP), node("c", after=["b"]), node("d", depends="b.Skipped"))
    assert run.see(flip=completed(stdout="tails")).started == ["c", "d"]
    state = run.node("b")
    assert (state.phase, state.reason, state.attempt) == (P.SKIPPED, "ConditionFalse", 0)
    run.see(c=completed(), d=completed())
    assert run.run.phase is RunPhase.SUCCEEDED
    assert run.status["progress"] == "4/4"


def test_a_skipped_node_records_the_values_that_decided() -> None:
    run = play(
        node("flip-1"),
        node("b", when='nodes["flip-1"].stdout == params.wanted && nodes["flip-1"].exitCode < 3'),
        parameters=[{"name": "wanted"}],
        arguments={"wanted": "heads"},
    ).see(**{"flip-1": completed(stdout="tails")})
    message = run.node("b").message or ""
    assert message.startswith('when is false: nodes["flip-1"].stdout == params.wanted && ')
    assert '"tails"' in message
    assert 'params.wanted = "heads"' in message


@pytest.mark.parametrize(
    ("kind", "value", "spelled"),
    [
        ("boolean", False, "false"),
        ("array", [1, None, "a"], '[1, null, "a"]'),
        ("object", {"é": True}, '{"é": true}'),
        ("string", "x", '"x"'),
    ],
)
def test_values_are_spelled_as_a_user_writes_them(kind: str, value: object, spelled: str) -> None:
    parameters = [{"name": "x", "type": kind, "default": value}]
    run = play(node("a", when="params.x != params.x"), parameters=parameters)
    assert run.node("a").message == f"when is false: params.x != params.x (params.x = {spelled})"


def test_what_a_condition_reads_is_an_edge() -> None:
    run = play(node("flip"), node("b", when='nodes.flip.stdout == "heads"'))
    assert run.started == ["flip"]


def test_a_condition_is_looked_at_once_the_node_could_start() -> None:
    run = play(node("flip"), node("slow"), node("b", **FLIP | {"after": ["slow"]}))
    assert run.see(flip=completed(stdout="tails")).phases["b"] is P.PENDING
    assert run.see(slow=completed()).phases["b"] is P.SKIPPED


def test_a_node_that_is_omitted_is_not_asked_for_its_condition() -> None:
    run = play(node("a"), node("b", after=["a"], when="nodes.a.outputs.nothing")).see(a=completed(1))
    assert run.phases["b"] is P.OMITTED


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("nodes.a.outputs.nothing == 1", "nothing"),
        ('params.options["absent"] == 1', "absent"),
        ("nodes.a.exitCode", "is 0, which is neither true nor false"),
        ('"true"', 'is "true", which is neither true nor false'),
        ("nodes.a.exitCode / 0 == 1", "has no value"),
    ],
)
def test_a_condition_without_an_answer_is_an_error(when: str, problem: str) -> None:
    run = play(
        node("a"),
        node("b", after=["a"], when=when),
        node("c", after=["b"]),
        parameters=[{"name": "options", "type": "object", "default": {}}],
    ).see(a=completed())
    state = run.node("b")
    assert (state.phase, state.reason) == (P.ERROR, "InvalidJob")
    assert (state.message or "").startswith("spec.nodes[b].when: ")
    assert problem in (state.message or "")
    assert run.phases["c"] is P.OMITTED
    assert run.run.phase is RunPhase.ERROR


def test_conditions_of_roots_are_looked_at_at_once() -> None:
    run = play(node("a", when="dag.name == 'other'"), node("b", after=["a"]), node("c", when="true"))
    assert run.started == ["b", "c"]
    assert run.phases["a"] is P.SKIPPED


def test_an_attempt_that_was_made_is_not_skipped() -> None:
    """Bacalhau knows of it, so the condition held, even if what it read is gone."""
    run = Play(dag(node("flip"), node("b", **FLIP)))
    run.go(run.seen("b", failed("Failing due to node restart"), attempt=1))
    assert run.see(flip=completed(stdout="tails")).started == ["b"]


def test_depends_and_when_work_together() -> None:
    run = play(
        node("a"),
        node("b", depends="a.Failed", when="nodes.a.exitCode == 3"),
        node("c", depends="a.Failed", when="nodes.a.exitCode == 4"),
        node("d", depends="a.Succeeded", when="nodes.a.exitCode == 3"),
    ).see(a=completed(3))
    assert (run.phases["b"], run.phases["c"], run.phases["d"]) == (P.SUBMITTED, P.SKIPPED, P.OMITTED)


# Mistakes that are known before the run


def test_a_suspended_run_still_decides_what_does_not_start() -> None:
    run = play(node("a"), node("b", after=["a"]), node("c", depends="a.Failed", when="false"))
    run.go(suspend=True).see(a=completed(1))
    assert (run.phases["b"], run.phases["c"]) == (P.OMITTED, P.SKIPPED)


def test_a_condition_in_braces_is_told_to_do_without() -> None:
    [problem] = problems(dag(node("a", when="${{ dag.name == 'x' }}")))
    assert problem.startswith("spec.nodes[a].when: ")
    assert problem.endswith("is wrong: here it is written without ${{ and }}.")

"""What a node reads of another that has no result: the mount, the stdout, the exit code, the output of the DAG."""

import pytest

from controller.api.bacalhau import JobSighting
from controller.api.status import NodePhase, RunPhase
from controller.engine import JobLost, SubmissionRefused
from tests.support.builders import Json, Play, completed, dag, failed, job, node, stopped

P = NodePhase
OPTIONAL: Json = {"from": "a", "optional": True}

WITHOUT_RESULT: dict[str, JobSighting | None] = {
    "failed": completed(3, cid=None),
    "error": failed(),
    "stopped": stopped("by hand"),
    "skipped": None,
    "succeeded without a publisher": completed(cid=None, tasks=()),
}
ends = pytest.mark.parametrize("seen", WITHOUT_RESULT.values(), ids=WITHOUT_RESULT.keys())


def after(seen: JobSighting | None, *consumers: Json) -> Play:
    """Nodes that run after a node which ended without a result."""
    more: Json = {"when": "false"} if seen is None else {}
    play = Play(dag(node("a", continueOnFailure=True, **more), *consumers, failurePolicy="RunAll"))
    play.go()
    return play.see(a=seen) if seen else play


@ends
def test_an_optional_input_that_is_absent_is_left_out(seen: JobSighting | None) -> None:
    play = after(seen, node("b", inputs=[OPTIONAL]))
    assert play.started == ["b"]
    assert "InputSources" not in play.jobs["b"]["Tasks"][0]


@ends
def test_an_input_that_is_absent_is_an_error(seen: JobSighting | None) -> None:
    play = after(seen, node("b", inputs=["a"]))
    state = play.node("b")
    assert (state.phase, state.reason) == (P.ERROR, "InvalidJob")
    assert state.message == (
        'spec.nodes[b].inputs[0].from: node "a" published nothing; give its job a Publisher (ipfs, s3 or local), '
        "or make the input optional."
    )
    assert play.run.phase is RunPhase.ERROR


def test_an_optional_input_that_is_there_is_mounted() -> None:
    play = Play(dag(node("a"), node("b", inputs=[OPTIONAL]))).go().see(a=completed(cid="QmA"))
    sources = play.jobs["b"]["Tasks"][0]["InputSources"]
    assert sources == [{"Source": {"Type": "ipfs", "Params": {"CID": "QmA"}}, "Target": "/inputs/a"}]


def test_what_a_failed_node_published_is_mounted() -> None:
    nodes = [node("a"), node("b", depends="a.Failed", inputs=["a"])]
    play = Play(dag(*nodes)).go().see(a=completed(3, cid="QmLogs"))
    assert play.jobs["b"]["Tasks"][0]["InputSources"][0]["Source"]["Params"] == {"CID": "QmLogs"}


def test_optional_inputs_leave_the_others_alone() -> None:
    nodes = [node("a", continueOnFailure=True), node("b"), node("c", inputs=[OPTIONAL, "b"])]
    play = Play(dag(*nodes)).go().see(a=completed(1, cid=None), b=completed(cid="QmB"))
    sources = play.jobs["c"]["Tasks"][0]["InputSources"]
    assert [source["Target"] for source in sources] == ["/inputs/b"]


def test_an_optional_input_is_still_an_edge() -> None:
    play = Play(dag(node("a"), node("b", inputs=[OPTIONAL]), failurePolicy="RunAll")).go()
    assert play.started == ["a"]
    assert play.see(a=completed(1)).phases["b"] is P.OMITTED


def reading(expression: str) -> Json:
    return node("b", after=["a"], job=job(Env={"READ": f"${{{{ {expression} }}}}"}))


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("nodes.a.phase", "Skipped"),
        ("nodes.a.reason", "ConditionFalse"),
        ("nodes.a.exitCode", "null"),
        ("nodes.a.stdout", "null"),
        ("nodes.a.jobID", "null"),
        ('nodes.a.stdout == null ? "nothing" : nodes.a.stdout', "nothing"),
        ("nodes.a.outputs.?cid.orValue('none')", "none"),
        ("has(nodes.a.outputs.uri)", "false"),
    ],
)
def test_expressions_say_what_stands_in_for_an_absent_value(expression: str, text: str) -> None:
    play = after(None, reading(expression))
    assert play.jobs["b"]["Tasks"][0]["Env"] == {"READ": text}


def test_an_expression_that_needs_an_absent_value_is_an_error() -> None:
    play = after(None, reading("nodes.a.outputs.cid"))
    assert (play.phases["b"], play.node("b").reason) == (P.ERROR, "InvalidJob")
    assert "spec.nodes[b].job.Tasks[0].Env.READ" in (play.node("b").message or "")
    assert "cid" in (play.node("b").message or "")


@ends
def test_an_output_of_the_dag_that_is_absent_is_left_out(seen: JobSighting | None) -> None:
    outputs = [{"name": "maybe", "from": "a"}, {"name": "sure", "from": "b"}]
    more: Json = {"when": "false"} if seen is None else {"continueOnFailure": True}
    play = Play(dag(node("a", **more), node("b"), outputs=outputs)).go()
    play.see(b=completed(cid="QmB"), **({"a": seen} if seen else {}))
    assert play.run.phase is RunPhase.SUCCEEDED
    assert play.status["outputs"] == {"sure": {"uri": "ipfs://QmB", "cid": "QmB"}}


@pytest.mark.parametrize("cannot", ["be accepted", "be rendered", "be found"])
def test_what_stands_in_for_an_absent_value_is_the_same_after_a_restart(cannot: str) -> None:
    """An attempt that is rendered again must come out the same, or its name would belong to two jobs."""
    more: Json = {"job": {"Type": "service"}} if cannot == "be rendered" else {}
    play = Play(dag(node("a", continueOnFailure=True, **more), reading("nodes.a.stdout"))).go()
    if cannot == "be accepted":
        play.go(SubmissionRefused(node="a", attempt=1, reason="TooLarge", message="too large"))
    if cannot == "be found":
        play.accept("a").go(JobLost(node="a", attempt=1))
    assert play.phases["a"] is P.ERROR
    before = play.jobs["b"]
    play.restart()
    assert play.go().jobs["b"] == before
    assert before["Tasks"][0]["Env"] == {"READ": "null"}


@ends
def test_what_is_read_of_a_node_without_result_survives_a_restart(seen: JobSighting | None) -> None:
    play = after(seen, reading("nodes.a.stdout"))
    before = play.jobs["b"]
    play.restart()
    play.go(*([play.seen("a", seen, attempt=1)] if seen else []))
    assert play.jobs["b"] == before

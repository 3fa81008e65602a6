"""What runs again, and what is kept."""

from collections.abc import Sequence

import pytest

from controller.api.status import DAGStatus, NodePhase, NodeStatus, RunPhase
from controller.engine import Graph, InvalidDAG, reset
from tests.support.builders import Json, Play, completed, dag, failed, node

# a → b → d, a → c, e alone; z ends the run
GRAPH = Graph.compile(
    dag(
        node("a"),
        node("b", after=["a"]),
        node("c", after=["a"]),
        node("d", after=["b"]),
        node("e"),
        **{"finally": [node("z")]},
    )
)


def ended(**phases: str) -> dict[str, NodeStatus]:
    """Nodes as they ended: well, unless something else is said; None is a node that the status does not know."""
    well: Json = dict.fromkeys("abcdez", "Succeeded")
    return {
        name: NodeStatus(phase=NodePhase(phase), attempt=1)
        for name, phase in (well | phases).items()
        if phase
    }


@pytest.mark.parametrize(
    ("phases", "chosen", "again"),
    [
        pytest.param({"c": "Failed"}, [], "cz", id="a leaf"),
        pytest.param({"b": "Error", "d": "Omitted"}, [], "bdz", id="a node and what depended on it"),
        pytest.param({"b": "Failed", "c": "Cancelled"}, [], "bcdz", id="descendants that had succeeded, too"),
        pytest.param({"e": "Skipped"}, [], "", id="a skipped node is kept"),
        pytest.param({"e": None}, [], "ez", id="a node that the status does not know"),
        pytest.param({"e": "Running"}, [], "ez", id="a node that never ended"),
        pytest.param({}, [], "", id="nothing, if all went well"),
        pytest.param({"z": "Failed"}, [], "z", id="the end of the run alone"),
        pytest.param({}, ["b"], "bdz", id="a chosen node"),
        pytest.param({}, ["z"], "z", id="a chosen node of finally"),
        pytest.param({"c": "Failed"}, ["e"], "cez", id="a chosen node, beside what failed"),
        pytest.param({"b": "Failed", "d": "Omitted"}, ["a"], "abcdz", id="a chosen node before what failed"),
    ],
)
def test_what_runs_again(phases: dict[str, str], chosen: Sequence[str], again: str) -> None:
    assert "".join(reset(GRAPH, ended(**phases), chosen)) == again


def test_unknown_nodes_are_named_each_in_its_place() -> None:
    with pytest.raises(InvalidDAG) as caught:
        reset(GRAPH, ended(), ["aa", "b", "?"])
    assert str(caught.value) == (
        'spec.retry.nodes[0]: "aa" is not a node of this DAG; did you mean "a"?; '
        'spec.retry.nodes[2]: "?" is not a node of this DAG.'
    )


def test_history_and_numbers_stay_and_everything_else_goes() -> None:
    before = NodeStatus.model_validate(
        {
            "phase": "Failed",
            "attempt": 7,
            "jobID": "j-7",
            "startedAt": "2027-01-01T00:00:00Z",
            "finishedAt": "2027-01-01T00:01:00Z",
            "firstStartedAt": "2027-01-01T00:00:00Z",
            "exitCode": 3,
            "reason": "NonZeroExit",
            "message": "exit code 3",
            "outputs": {"uri": "ipfs://Qm", "cid": "Qm"},
            "failures": 2,
            "errors": 1,
            "lost": 4,
            "attempts": [{"attempt": 6, "phase": "Error"}],
        }
    )
    after = reset(GRAPH, ended() | {"c": before}, [])["c"]
    assert after
    assert after.model_dump(exclude_none=True, by_alias=True, mode="json") == {
        "phase": "Pending",
        "attempt": 7,
        "attempts": [
            {"attempt": 6, "phase": "Error"},
            {
                "attempt": 7,
                "phase": "Failed",
                "jobID": "j-7",
                "exitCode": 3,
                "reason": "NonZeroExit",
                "finishedAt": "2027-01-01T00:01:00Z",
            },
        ],
    }


def test_a_node_that_never_had_an_attempt_is_new() -> None:
    taken_over = NodeStatus(phase=NodePhase.SUCCEEDED, job_id="j-of-another-run", job_namespace="lab.other")
    again = reset(GRAPH, ended() | {"e": taken_over}, ["e"])
    assert again["e"] == NodeStatus(phase=NodePhase.PENDING)


def test_the_time_of_finally_counts_from_the_rerun() -> None:
    """Not from the end of nodes that ended in the first run."""
    spec = dag(node("a"), **{"finally": [node("z")]}, timeouts={"finally": "1m"})
    known = DAGStatus.model_validate(
        {
            "phase": "Pending",
            "startTime": "2027-01-15T08:00:00Z",
            "nodes": {
                "a": {"phase": "Succeeded", "attempt": 1, "finishedAt": "2027-01-01T00:00:00Z"},
                "z": {"phase": "Pending", "attempt": 1},
            },
        }
    )
    play = Play(spec, status=known).go()
    assert (play.started, play.node("z").attempt) == (["z"], 2)
    play.see(z=completed())
    assert play.run.phase is RunPhase.SUCCEEDED


# Fan-outs

MAP = dag(
    node("split"),
    node("count", after=["split"], forEach={"items": ["x", "y", "z"]}),
    node("sum", inputs=["count"]),
    failurePolicy="RunAll",
)


def mapped(*, again: Sequence[str] = ()) -> Play:
    """A run of which the second of three items failed, and that was opened again."""
    play = Play(MAP).go().see(split=completed())
    play.see(**{"count[0]": completed(), "count[1]": completed(3), "count[2]": completed()})
    assert play.run.phase is RunPhase.FAILED
    return reopened(play, again)


def reopened(play: Play, chosen: Sequence[str]) -> Play:
    known = DAGStatus.model_validate(play.status)
    for name, status in reset(play.graph, known.nodes, chosen).items():
        if status:
            play.status["nodes"][name] = status.model_dump(by_alias=True, mode="json", exclude_none=True)
        else:
            del play.status["nodes"][name]
    play.status["phase"] = "Pending"
    play.restart()
    return play.go()


def test_of_a_fan_out_the_items_that_failed_run_again() -> None:
    play = mapped()
    assert (play.started, play.node("count[1]").attempt) == (["count[1]"], 2)
    assert [item.exit_code for item in play.node("count[1]").attempts] == [3]
    play.restart()
    play.go().see(**{"count[1]": completed()})
    assert play.started == ["sum"]
    assert play.see(sum=completed()).run.phase is RunPhase.SUCCEEDED


def test_an_item_may_be_chosen() -> None:
    play = mapped(again=["count[0]"])
    assert play.started == ["count[0]", "count[1]"], "the second had failed"
    assert play.node("count[2]").attempt == 1


@pytest.mark.parametrize("chosen", ["count", "split"])
def test_a_fan_out_whose_list_may_be_another_runs_again_whole(chosen: str) -> None:
    play = mapped(again=[chosen])
    if chosen == "split":
        play.see(split=completed())
    assert play.started == ["count[0]", "count[1]", "count[2]"]
    assert {play.node(name).attempt for name in play.started} == {2}
    play.see(**{"count[0]": completed(), "count[1]": failed("Failing due to node restart")})
    assert play.node("count[1]").attempt == 3


@pytest.mark.parametrize("restarts", [1, 2])
def test_items_that_were_forgotten_never_use_an_attempt_again(restarts: int) -> None:
    play = mapped(again=["count"])
    play.accept("count[0]")
    for _ in range(restarts):
        play.restart()
        play.go()
    assert {play.node(f"count[{number}]").attempt for number in range(3)} == {2}
    play.see(**{f"count[{number}]": completed(1 if number else 0) for number in range(3)})
    play = reopened(play, ["split"]).see(split=completed())
    assert {play.node(name).attempt for name in play.started} == {3}


@pytest.mark.parametrize(
    ("known", "attempt"),
    [
        pytest.param({}, 0, id="that the status does not know"),
        pytest.param({"count": NodeStatus(phase=NodePhase.OMITTED)}, 0, id="that never ran"),
        pytest.param({"count": NodeStatus(phase=NodePhase.OMITTED, attempt=3)}, 3, id="without its items"),
    ],
)
def test_a_fan_out_goes_on_counting_from_the_highest_attempt(
    known: dict[str, NodeStatus], attempt: int
) -> None:
    graph = Graph.compile(dag(node("split"), node("count", after=["split"], forEach={"items": ["a", "b"]})))
    again = reset(graph, {"split": NodeStatus(phase=NodePhase.FAILED, attempt=1)} | known)
    assert again["count"] == NodeStatus(phase=NodePhase.PENDING, attempt=attempt)


def test_a_fan_out_keeps_the_count_that_its_items_began_with() -> None:
    graph = Graph.compile(dag(node("count", forEach={"items": ["a", "b"]})))
    items = {f"count[{number}]": NodeStatus(phase=NodePhase.FAILED, attempt=4) for number in range(2)}
    again = reset(graph, {"count": NodeStatus(phase=NodePhase.FAILED, attempt=2)} | items)
    assert again["count"] == NodeStatus(phase=NodePhase.PENDING, attempt=2)
    assert again["count[0]"] is not None
    assert again["count[0]"].attempt == 4

"""What a node that published nothing is to those that read it."""

from typing import Any

import pytest

from controller.api.status import NodePhase
from tests.support.builders import Json, Play, completed, dag, job, node

P = NodePhase
DEFAULT = {"uri": "ipfs://QmDefault", "cid": "QmDefault"}
READS_CID = job(Env={"CID": '${{ nodes.a.?outputs.?cid.orValue("none") }}'})


def skipped(**fields: Any) -> Json:
    return node("a", when="false", **fields)


def failed(**fields: Any) -> Json:
    return node("a", continueOnFailure=True, **fields)


def mounts(play: Play, name: str) -> list[tuple[str, str]]:
    sources = play.jobs[name]["Tasks"][0].get("InputSources", [])
    return [(source["Target"], source["Source"]["Params"]["CID"]) for source in sources]


def test_a_default_takes_the_place_of_a_result_that_a_skipped_node_has_not() -> None:
    play = Play(dag(skipped(defaultOutputs=DEFAULT), node("b", inputs=["a"]))).go()
    assert mounts(play, "b") == [("/inputs/a", "QmDefault")]
    assert play.status["nodes"]["a"]["outputs"] == DEFAULT


def test_a_default_takes_the_place_of_a_result_that_a_failed_node_has_not() -> None:
    play = Play(dag(failed(defaultOutputs=DEFAULT), node("b", inputs=["a"]))).go()
    play.see(a=completed(3, cid=None))
    assert mounts(play, "b") == [("/inputs/a", "QmDefault")]


def test_a_default_is_not_the_result_of_a_node_that_has_one() -> None:
    play = Play(dag(node("a", defaultOutputs=DEFAULT), node("b", inputs=["a"]))).go()
    play.see(a=completed(cid="QmOwn"))
    assert mounts(play, "b") == [("/inputs/a", "QmOwn")]


def test_a_default_is_not_taken_while_another_attempt_follows() -> None:
    play = Play(dag(failed(defaultOutputs=DEFAULT, retry={"limit": 1}), node("b", inputs=["a"]))).go()
    play.see(a=completed(3, cid=None)).go(after=60)
    assert (play.started, play.status["nodes"]["a"].get("outputs")) == (["a"], None)
    play.see(a=completed(3, cid=None))
    assert mounts(play, "b") == [("/inputs/a", "QmDefault")]


def test_a_default_survives_a_restart() -> None:
    play = Play(dag(skipped(defaultOutputs=DEFAULT), node("b", inputs=["a"]))).go(suspend=True)
    play.restart()
    assert mounts(play.go(suspend=False), "b") == [("/inputs/a", "QmDefault")]


def test_items_of_a_fan_out_have_the_default_each() -> None:
    fan_out = node("a", forEach={"range": {"count": 2}}, when="index == 1", defaultOutputs=DEFAULT)
    play = Play(dag(fan_out, node("b", inputs=["a"]))).go().see(**{"a[1]": completed(cid="QmOwn")})
    assert mounts(play, "b") == [("/inputs/a/0", "QmDefault"), ("/inputs/a/1", "QmOwn")]


def test_a_reader_can_do_without() -> None:
    play = Play(
        dag(skipped(), node("b", inputs=[{"from": "a", "optional": True}]), node("c", job=READS_CID))
    ).go()
    assert mounts(play, "b") == []
    assert play.jobs["c"]["Tasks"][0]["Env"] == {"CID": "none"}


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        (node("b", inputs=["a"]), "spec.nodes[b].inputs[0].from"),
        (node("b", job=job(Env={"CID": "${{ nodes.a.outputs.cid }}"})), "spec.nodes[b].job.Tasks[0].Env.CID"),
    ],
)
def test_a_reader_that_cannot_is_an_error_for_good(reader: Json, message: str) -> None:
    play = Play(dag(skipped(), reader | {"retry": {"limit": 3, "policy": "Always"}})).go()
    assert play.phases["b"] is P.ERROR
    assert message in (play.node("b").message or "")


def test_an_output_of_the_dag_that_is_absent_is_left_out() -> None:
    outputs = [{"name": "x", "from": "a"}, {"name": "y", "from": "b"}]
    play = Play(dag(skipped(), node("b"), outputs=outputs)).go().see(b=completed(cid="QmB"))
    assert set(play.status["outputs"]) == {"y"}

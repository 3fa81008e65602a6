"""``targets``: running a part of a graph."""

from controller.api.status import RunPhase
from controller.engine import Graph
from tests.support.builders import Json, Play, completed, dag, node
from tests.unit.engine.test_graph import problems

LADDER = [
    node("a"),
    node("b", after=["a"]),
    node("c", inputs=["b"]),
    node("x"),
    node("y", reads=["x"]),
    node("z", depends="c || y"),
]


def names(graph: Graph) -> list[str]:
    return [item.name for item in graph.nodes]


def test_only_targets_and_what_they_need_exist() -> None:
    assert names(Graph.compile(dag(*LADDER, targets=["c"]))) == ["a", "b", "c"]
    assert names(Graph.compile(dag(*LADDER, targets=["a"]))) == ["a"]
    assert names(Graph.compile(dag(*LADDER, targets=["y", "b"]))) == ["a", "b", "x", "y"]
    assert names(Graph.compile(dag(*LADDER, targets=["z"]))) == ["a", "b", "c", "x", "y", "z"]
    assert names(Graph.compile(dag(*LADDER))) == names(Graph.compile(dag(*LADDER, targets=["z"])))


def test_a_run_with_targets_ends_with_them() -> None:
    play = Play(dag(*LADDER, targets=["b"])).go()
    assert play.started == ["a"]
    assert play.see(a=completed()).started == ["b"]
    play.see(b=completed())
    assert play.run.phase is RunPhase.SUCCEEDED
    assert play.status["progress"] == "2/2"
    assert set(play.status["nodes"]) == {"a", "b"}


def test_a_condition_s_references_are_needed() -> None:
    spec = dag(node("a"), node("b", when="nodes.a.exitCode == 0"), node("c"), targets=["b"])
    assert names(Graph.compile(spec)) == ["a", "b"]


def test_unknown_targets_are_mistakes() -> None:
    assert problems(dag(*LADDER, targets=["c", "yy"])) == [
        'spec.targets[1]: "yy" is not a node of this DAG; did you mean "y"?'
    ]


def test_nodes_that_are_left_out_are_checked_all_the_same() -> None:
    spec = dag(node("a"), node("b", after=["zz"]), targets=["a"])
    assert problems(spec) == ['spec.nodes[b].dependencies[0]: "zz" is not a node of this DAG.']


def test_outputs_of_nodes_that_do_not_run_are_dropped() -> None:
    outputs = [{"name": "of-c", "from": "c"}, {"name": "of-y", "from": "y"}]
    play = Play(dag(*LADDER, outputs=outputs, targets=["c"])).go()
    for name in "abc":
        play.see(**{name: completed(cid=f"Qm{name}")})
    assert play.status["outputs"] == {"of-c": {"uri": "ipfs://Qmc", "cid": "Qmc"}}


def test_finally_is_kept_with_what_it_reads() -> None:
    last: list[Json] = [node("notify", reads=["x"])]
    graph = Graph.compile(dag(*LADDER, targets=["a"], **{"finally": last}))
    assert names(graph) == ["a", "x", "notify"]
    assert graph.main == 2
    assert graph.nodes[2].is_finally


def test_a_handler_that_is_not_a_target_deals_with_nothing() -> None:
    spec = dag(node("a"), node("cleanup", depends="a.Failed"), targets=["a"])
    assert Play(spec).go().see(a=completed(1)).run.phase is RunPhase.FAILED


def test_targets_are_part_of_what_a_run_may_not_change() -> None:
    whole, part = Graph.compile(dag(*LADDER)), Graph.compile(dag(*LADDER, targets=["a"]))
    assert whole.hash != part.hash
    assert part.hash == Graph.compile(dag(*LADDER, targets=["a"])).hash


def test_a_node_of_finally_is_no_target() -> None:
    spec = dag(node("a"), targets=["notify"], **{"finally": [node("notify")]})
    assert problems(spec) == ['spec.targets[0]: "notify" is a node of finally, which runs in any case.']

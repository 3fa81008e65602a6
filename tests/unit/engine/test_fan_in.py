"""What other nodes read of a fan-out, and fan-outs read of others: mounts, expressions, files."""

import json
from typing import Any

import pytest

from controller.api.status import NodePhase, RunPhase
from controller.engine import FilesListed, FilesUnknown, ListFiles, SubmitJob, results
from controller.engine.state import NodeState
from tests.support.builders import START, Json, Play, completed, dag, failed, job, node, stopped
from tests.unit.engine.test_fan_out import fan_out, play

P = NodePhase
FILES = "${{ nodes.split.outputs.files }}"


def mounts(document: Json) -> dict[str, str]:
    """What a job mounts from IPFS, by where it sees it."""
    sources = document["Tasks"][0].get("InputSources", [])
    return {source["Target"]: source["Source"]["Params"]["CID"] for source in sources}


def told(expression: str) -> Json:
    return job(Env={"A": f"${{{{ {expression} }}}}"})


def env(run: Play, name: str) -> str:
    return str(run.jobs[name]["Tasks"][0]["Env"]["A"])


# Mounts


def test_each_item_s_result_is_mounted_under_its_number() -> None:
    run = play(fan_out(3), node("b", inputs=["w"]))
    run.see(**{f"w[{index}]": completed(cid=f"Qm{index}") for index in (2, 0, 1)})
    assert mounts(run.jobs["b"]) == {"/inputs/w/0": "Qm0", "/inputs/w/1": "Qm1", "/inputs/w/2": "Qm2"}


@pytest.mark.parametrize("target", ["/data", "/data/"])
def test_items_are_mounted_below_a_target(target: str) -> None:
    part = {"from": "w", "target": target, "output": "outputs"}
    run = play(fan_out(2), node("b", inputs=[part]))
    run.see_items("w", completed(cid="Qm0"), completed(cid="Qm1"))
    assert mounts(run.jobs["b"]) == {"/data/0": "Qm0/outputs", "/data/1": "Qm1/outputs"}


def test_items_may_be_mounted_as_one() -> None:
    run = play(node("a"), fan_out(2), node("b", inputs=["a", "w", {"from": "w", "target": "/more/"}]))
    run.see(a=completed()).see_items("w", completed(), completed())
    (effect,) = (effect for effect in run.effects if isinstance(effect, SubmitJob))
    assert effect.bundles == ("/inputs/w", "/more")


def test_only_items_that_succeeded_are_mounted() -> None:
    documents = [
        fan_out(5, rules={"minSucceeded": 2}, when="index != 4"),
        node("b", inputs=["w"]),
    ]
    run = play(*documents, failurePolicy="RunAll")
    run.see_items("w", completed(cid="Qm0"), completed(3, cid="Qm1"), failed(), completed(cid="Qm3"))
    assert mounts(run.jobs["b"]) == {"/inputs/w/0": "Qm0", "/inputs/w/3": "Qm3"}


@pytest.mark.parametrize("when", ["false", "index < 0"])
def test_a_fan_out_that_was_skipped_mounts_nothing(when: str) -> None:
    run = play(fan_out(2, when=when), node("b", inputs=["w"]))
    assert mounts(run.jobs["b"]) == {}


def test_a_result_that_an_item_does_not_have_is_an_error() -> None:
    run = play(fan_out(2), node("b", inputs=["w"]), node("c", inputs=[{"from": "w", "optional": True}]))
    unpublished = completed(cid=None, tasks=({"Name": "main"},))
    run.see_items("w", completed(cid="Qm0"), unpublished)
    assert (run.node("b").message or "").startswith(
        'spec.nodes[b].inputs[0].from: node "w[1]" published nothing; '
    )
    assert run.phases["b"] is P.ERROR
    run = play(fan_out(2), node("c", inputs=[{"from": "w", "optional": True}]))
    run.see_items("w", completed(cid="Qm0"), unpublished)
    assert mounts(run.jobs["c"]) == {"/inputs/w/0": "Qm0"}


def test_every_item_mounts_the_inputs_of_the_fan_out() -> None:
    run = play(node("a"), fan_out(2, inputs=["a"])).see(a=completed(cid="Qma"))
    assert [mounts(document) for document in run.jobs.values()] == [{"/inputs/a": "Qma"}] * 2


def test_each_item_may_mount_a_part_of_its_own() -> None:
    part = {"from": "a", "output": "${{ item }}", "target": "/data"}
    whole = {"from": "a", "output": "all-${{ index }}/x", "target": "/more"}
    document = node("w", forEach={"items": ["x", "y/z"]}, inputs=[part, whole])
    run = play(node("a"), document).see(a=completed(cid="Qma"))
    assert [mounts(item) for item in run.jobs.values()] == [
        {"/data": "Qma/x", "/more": "Qma/all-0/x"},
        {"/data": "Qma/y/z", "/more": "Qma/all-1/x"},
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [(1, "1"), ("", '""'), ("/x", '"/x"'), ("//", '"//"'), (None, "null")]
)
def test_a_part_that_is_no_path_is_an_error_of_its_item(value: Any, shown: str) -> None:
    part = {"from": "a", "output": "${{ item }}"}
    run = play(node("a"), node("w", forEach={"items": ["ok", value]}, inputs=[part]), failurePolicy="RunAll")
    run.see(a=completed())
    if value is None:
        assert run.items("w") == [P.SUBMITTED, P.SUBMITTED]
        return
    assert run.items("w") == [P.SUBMITTED, P.ERROR]
    assert (
        run.node("w[1]").message == f"spec.nodes[w].inputs[0].output: {shown} is not a path inside a result."
    )


def test_a_plain_node_may_mount_a_part_that_another_node_names() -> None:
    part = {"from": "a", "output": "outputs/${{ nodes.a.stdout }}"}
    run = play(node("a"), node("b", inputs=[part])).see(a=completed(cid="Qma", stdout="best\n"))
    assert mounts(run.jobs["b"]) == {"/inputs/a": "Qma/outputs/best"}


def test_an_items_target_that_is_taken_is_an_error() -> None:
    both = [{"from": "w"}, {"from": "a", "target": "/inputs/w/1"}]
    run = play(node("a"), fan_out(2), node("b", inputs=both))
    run.see(a=completed()).see_items("w", completed(), completed())
    assert run.node("b").message == (
        'spec.nodes[b].inputs[1].target: "/inputs/w/1" is already the target of an InputSource.'
    )


# Expressions


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("nodes.w.total", "3"),
        ("nodes.w.succeeded", "2"),
        ("nodes.w.phase", "Succeeded"),
        ("nodes.w.items.size()", "3"),
        ("nodes.w.items.map(i, i.stdout)", '["zero", "one", "two"]'),
        ("nodes.w.items.map(i, i.index)", "[0, 1, 2]"),
        ("nodes.w.stdout", '["zero", "one", "two"]'),
        ("nodes.w.items.map(i, i.exitCode)", "[0, 3, 0]"),
        ("nodes.w.items.filter(i, i.phase == 'Failed').map(i, i.jobID)", '["j-w[1]-1"]'),
        ("nodes.w.items[2].outputs.cid", "QmResult"),
        ("nodes.w.items[1].reason", "ExitCode"),
        ("nodes.w.items.map(i, i.stdout).join('+')", "zero+one+two"),
    ],
)
def test_items_are_read_in_their_order(expression: str, value: str) -> None:
    run = play(fan_out(3, rules={"minSucceeded": 2}), node("b", job=told(expression)))
    run.see(**{"w[2]": completed(stdout="two\n")}).see(**{"w[0]": completed(stdout="zero")})
    run.see(**{"w[1]": completed(3, stdout="one")})
    assert env(run, "b") == value


def test_json_of_items_is_read() -> None:
    documents = [node("b", job=told("nodes.w.items.map(i, i.json.n)")), node("c", job=told("nodes.w.json"))]
    run = play(fan_out(3), *documents)
    run.see_items("w", *(completed(stdout=f'{{"n": {n}}}') for n in (3, 1)), completed(stdout="no"))
    assert run.node("b").phase is P.ERROR
    run = play(fan_out(3), *documents)
    run.see_items("w", *(completed(stdout=f'{{"n": {n}}}') for n in (3, 1, 2)))
    assert (env(run, "b"), env(run, "c")) == ("[3, 1, 2]", '[{"n": 3}, {"n": 1}, {"n": 2}]')


@pytest.mark.parametrize(
    ("stdout", "value"),
    [("7", "7"), ('"x"', "x"), ("[1, 2]\n", "[1, 2]"), ("", "null"), ("not json", "null")],
)
def test_json_of_a_plain_node_is_read(stdout: str, value: str) -> None:
    run = play(node("a"), node("b", job=told("nodes.a.json"))).see(a=completed(stdout=stdout))
    assert env(run, "b") == value


def test_nesting_that_no_parser_bears_is_no_json() -> None:
    run = play(node("a"), node("b", job=told("nodes.a.json"))).see(a=completed(stdout="[" * 100_000))
    assert env(run, "b") == "null"


def test_a_condition_may_read_items() -> None:
    run = play(fan_out(2, rules={"minSucceeded": 0}), node("b", when="nodes.w.succeeded > 1"))
    run.see_items("w", completed(), completed(3))
    assert run.phases["b"] is P.SKIPPED
    assert "nodes.w.succeeded = 1" in (run.node("b").message or "")


def test_a_fan_out_over_the_results_of_another() -> None:
    second = node("v", forEach={"items": "${{ nodes.w.items.map(i, i.outputs.cid) }}"}, job=told("item"))
    run = play(fan_out(3), second)
    run.see_items("w", *(completed(cid=f"Qm{index}") for index in range(3)))
    assert [env(run, f"v[{index}]") for index in range(3)] == ["Qm0", "Qm1", "Qm2"]


def test_a_fan_out_over_what_succeeded() -> None:
    good = "${{ nodes.w.items.filter(i, i.phase == 'Succeeded').map(i, i.stdout) }}"
    run = play(fan_out(3, continueOnFailure=True), node("v", forEach={"items": good}, job=told("item")))
    run.see_items("w", completed(stdout="a"), completed(3), completed(stdout="c"))
    assert [env(run, f"v[{index}]") for index in range(2)] == ["a", "c"]


def test_a_thousand_results_are_worked_on() -> None:
    second = node("v", forEach={"items": "${{ nodes.w.items }}"}, job=told("item.stdout"))
    run = Play(dag(fan_out(1000), second), now=START).go(after=10)
    run.see_items("w", *(completed(stdout=str(index)) for index in range(1000)))
    assert [env(run, f"v[{index}]") for index in range(1000)] == [str(index) for index in range(1000)]


def test_a_result_is_made_once_however_many_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def result_of(node: NodeState) -> Json:
        made.append(str(node.job_id))
        return original(node)

    original = results.result_of
    monkeypatch.setattr(results, "result_of", result_of)
    second = node(
        "v", forEach={"items": "${{ nodes.w.items }}"}, when="item.exitCode == 0", job=told("index")
    )
    run = play(fan_out(20), second)
    run.see_items("w", *(completed() for _ in range(20)))
    assert len(run.started) == 20
    assert len(made) == 21


def test_what_is_found_out_later_of_a_result_is_read() -> None:
    first, then = node("a", reads=["split"]), node("b", after=["a"], job=told("nodes.split.outputs.files"))
    run = play(node("split"), first, then).see(split=completed()).see(a=completed())
    assert env(listed(run, "outputs/x"), "b") == '["outputs/x"]'


def test_a_thousand_texts_are_read_together() -> None:
    run = Play(dag(fan_out(1000), node("b", job=told("nodes.w.stdout")))).go(after=10)
    run.see_items("w", *(completed(stdout="a text of some length") for _ in range(1000)))
    assert env(run, "b") == json.dumps(["a text of some length"] * 1000)


# Files


def lists(run: Play) -> list[str]:
    """The nodes of whose results the latest advance asked for the files."""
    return [effect.node for effect in run.effects if isinstance(effect, ListFiles)]


def listed(run: Play, *files: str, of: str = "split") -> Play:
    return run.go(FilesListed(node=of, files=files))


def per_file(name: str = "w", **fields: Any) -> Json:
    return node(name, forEach={"items": FILES}, job=told("item"), **fields)


def test_each_file_of_a_result_is_an_item() -> None:
    run = play(node("split"), per_file())
    assert lists(run) == []
    run.see(split=completed(cid="Qms"))
    (question,) = (effect for effect in run.effects if isinstance(effect, ListFiles))
    assert (question.node, question.artifact.cid) == ("split", "Qms")
    assert (run.started, run.phases["w"]) == ([], P.PENDING)
    listed(run, "outputs/a", "outputs/b")
    assert [env(run, name) for name in ("w[0]", "w[1]")] == ["outputs/a", "outputs/b"]


def test_no_files_are_no_items() -> None:
    run = listed(play(node("split"), per_file(), node("b", after=["w"])).see(split=completed()))
    assert (run.phases["w"], run.node("w").reason, run.started) == (P.SKIPPED, "NoItems", ["b"])


def test_files_are_asked_for_once() -> None:
    documents = [node("split"), per_file(), per_file("v"), node("b", job=told("nodes.split.outputs.files"))]
    run = play(*documents).see(split=completed())
    assert lists(run) == ["split"]
    assert lists(run.go()) == []
    assert listed(run, "outputs/a").started == ["b", "w[0]", "v[0]"]


def test_files_are_asked_for_when_all_else_is_there() -> None:
    run = play(node("split"), node("other"), per_file(after=["other"]))
    assert lists(run.see(split=completed())) == []
    assert lists(run.see(other=completed())) == ["split"]


def test_files_may_be_known_before_a_reader_s_turn() -> None:
    run = play(node("split"), node("other"), per_file(), per_file("v", after=["other"]))
    listed(run.see(split=completed()), "outputs/a")
    assert run.see(other=completed()).started == ["v[0]"]
    assert lists(run) == []


def test_a_plain_node_may_read_files() -> None:
    run = play(node("split"), node("b", job=told("nodes.split.outputs.files[1]"))).see(split=completed())
    assert (run.started, run.phases["b"]) == ([], P.PENDING)
    assert env(listed(run, "x", "y"), "b") == "y"


def test_an_item_may_read_the_files_of_another_node() -> None:
    documents = [node("split"), fan_out(2, job=told("nodes.split.outputs.files[index]"))]
    run = play(*documents).see(split=completed())
    listed(run, "x", "y")
    assert [env(run, name) for name in ("w[0]", "w[1]")] == ["x", "y"]


def test_a_condition_may_read_files() -> None:
    run = play(node("split"), node("b", when='"x" in nodes.split.outputs.files')).see(split=completed())
    assert run.phases["b"] is P.PENDING
    assert listed(run, "y").phases["b"] is P.SKIPPED


def test_files_that_nobody_can_list_are_an_error_of_who_reads_them() -> None:
    run = play(
        node("split"), per_file(), node("b", job=told("nodes.split.outputs.files")), failurePolicy="RunAll"
    )
    run.see(split=completed()).go(FilesUnknown(node="split", message="Publish the result to ipfs."))
    assert run.phases == {"split": P.SUCCEEDED, "w": P.ERROR, "b": P.ERROR}
    for name in ("w", "b"):
        place = f"spec.nodes[{name}]: nodes.split.outputs.files"
        assert run.node(name).message == f"{place}: Publish the result to ipfs."
    assert run.run.phase is RunPhase.ERROR


def test_files_are_asked_for_again_by_who_comes_later() -> None:
    run = play(
        node("split"), node("other"), per_file(), per_file("v", after=["other"]), failurePolicy="RunAll"
    )
    run.see(split=completed()).go(FilesUnknown(node="split", message="The node is being moved."))
    assert (run.phases["w"], run.phases["v"]) == (P.ERROR, P.PENDING)
    assert lists(run.see(other=completed())) == ["split"]
    assert listed(run, "outputs/a").started == ["v[0]"]


def test_files_do_not_let_the_last_nodes_start_early() -> None:
    documents = [node("split"), per_file(), node("other")]
    run = play(*documents, **{"finally": [per_file("last")]}).see(split=completed())
    listed(run, "outputs/a")
    assert (run.started, run.phases["last"]) == (["w[0]"], P.PENDING)
    run.see(**{"w[0]": completed(), "other": completed()})
    assert run.started == ["last[0]"]


def test_a_node_without_a_result_has_no_files() -> None:
    unpublished = completed(cid=None, tasks=({"Name": "main"},))
    run = play(node("split"), per_file()).see(split=unpublished)
    assert lists(run) == []
    assert run.phases["w"] is P.ERROR
    assert (run.node("w").message or "").startswith(f"spec.nodes[w].forEach.items: {FILES} has no value: ")


def test_late_news_of_files_changes_nothing() -> None:
    run = listed(play(node("split"), per_file()).see(split=completed()), "outputs/a")
    before = run.phases
    assert listed(run, "outputs/a", "outputs/b").started == []
    run.go(FilesUnknown(node="split", message="gone"))
    assert run.phases == before


def test_files_that_come_after_an_early_end_start_nothing() -> None:
    run = play(node("split"), node("z"), per_file()).see(split=completed()).see(z=completed(3))
    assert run.phases["w"] is P.OMITTED
    listed(run, "outputs/a")
    assert (run.started, run.phases["w"]) == ([], P.OMITTED)


def test_nothing_else_waits_for_a_listing() -> None:
    run = play(node("split"), per_file(), node("b", after=["split"])).see(split=completed())
    assert run.started == ["b"]


def test_the_last_nodes_may_work_on_files() -> None:
    run = play(node("split"), node("a"), **{"finally": [per_file("last")]}).see(split=completed(cid="Qms"))
    assert lists(run) == []
    assert lists(run.see(a=stopped("by hand"))) == ["split"]
    assert listed(run, "outputs/a").started == ["last[0]"]


def test_items_of_one_node_are_numbered_as_its_files_are() -> None:
    names = [f"outputs/{index:03}" for index in range(200)]
    run = listed(play(node("split"), per_file()).see(split=completed()), *names)
    assert [env(run, f"w[{index}]") for index in range(200)] == names

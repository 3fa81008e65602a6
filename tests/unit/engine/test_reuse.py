"""Which results of an earlier DAG are taken over."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from controller.api.dag import DAGSpec
from controller.api.status import DAGStatus, NodePhase, NodeStatus, RunPhase
from controller.engine import Candidate, Earlier, Graph, JobSeen, reuse
from controller.engine.reuse import REUSED
from tests.support.builders import CONTEXT, Json, Play, completed, dag, identified, job, node

# a → b → d, a → c (by a template), e alone, f by an expression, g after an approval; z ends the run
SPEC: Json = {
    "parameters": [{"name": "size", "type": "integer"}, {"name": "unread", "default": "x"}],
    "arguments": {"size": 3},
    "jobTemplates": [
        {
            "name": "tool",
            "parameters": [{"name": "step"}, {"name": "level", "default": "low"}],
            "job": job(Env={"STEP": "${{ inputs.step }}", "LEVEL": "${{ inputs.level }}"}),
        },
        {"name": "other", "job": job()},
    ],
    "nodes": [
        node("a", job=job(Env={"SIZE": "${{ params.size }}"}, Timeouts={"TotalTimeout": 60})),
        node("b", after=["a"]),
        node("c", inputs=["a"], template="tool", arguments={"step": "${{ nodes.a.stdout }}"}),
        node("d", depends="b"),
        node("e", when="params.size > 2"),
        node("f", reads=["e"]),
        {"name": "gate", "suspend": {}},
        node("g", after=["gate"]),
    ],
    "finally": [node("z")],
}
ALL = "abcdef"
"""What is taken over if nothing has changed."""

Change = Callable[[Json], object]


def earlier(spec: Json = SPEC, /, **nodes: Json | None) -> Earlier:
    """A DAG in which every node succeeded, unless something else is said."""
    graph = Graph.compile(DAGSpec.model_validate(spec))
    statuses = {item.name: success(item.name) for item in graph.nodes}
    for name, status in nodes.items():
        statuses |= {name: NodeStatus.model_validate(status)} if status else {}
        if status is None:
            del statuses[name]
    return Earlier(
        graph=graph,
        name="monday",
        namespace="lab",
        uid="u-1",
        bacalhau_namespace="lab.monday",
        nodes=statuses,
    )


def success(name: str) -> NodeStatus:
    return NodeStatus.model_validate(
        {
            "phase": "Succeeded",
            "attempt": 2,
            "jobID": f"j-{name}",
            "startedAt": "2027-01-01T00:00:00Z",
            "finishedAt": "2027-01-01T00:01:00Z",
            "exitCode": 0,
            "outputs": {"uri": f"ipfs://Qm{name}", "cid": f"Qm{name}"},
            "failures": 1,
        }
    )


def candidate(spec: Json = SPEC, **fields: Any) -> Candidate:
    known = Candidate(
        graph=Graph.compile(DAGSpec.model_validate(spec)), name="tuesday", namespace="lab", uid="u-2"
    )
    return replace(known, **fields)


def taken(new: Candidate, old: Earlier) -> str:
    return "".join(reuse(new, old))


def nodes_of(spec: Json) -> dict[str, Json]:
    return {item["name"]: item for item in spec["nodes"]}


def task(spec: Json, name: str) -> Json:
    found: Json = nodes_of(spec)[name]["job"]["Tasks"][0]
    return found


CHANGES: dict[str, tuple[Change, str]] = {
    "nothing": (lambda spec: None, ALL),
    "a job": (lambda spec: task(spec, "b").update(Env={"X": "1"}), "acef"),
    "the kind of a value": (lambda spec: task(spec, "a").update(Env={"SIZE": 3}), "ef"),
    "an input": (lambda spec: nodes_of(spec)["c"]["inputs"][0].update(target="/data"), "abdef"),
    "an edge more": (lambda spec: nodes_of(spec)["b"]["dependencies"].append("e"), "acef"),
    "an edge less": (lambda spec: nodes_of(spec)["b"]["dependencies"].clear(), "acef"),
    "the logic of depends": (lambda spec: nodes_of(spec)["d"].update(depends="b.Succeeded"), "abcef"),
    "a condition": (lambda spec: nodes_of(spec)["e"].update(when="params.size > 1"), "abcd"),
    "a template": (lambda spec: spec["jobTemplates"][0]["job"].update(Priority=2), "abdef"),
    "a template's default": (
        lambda spec: spec["jobTemplates"][0]["parameters"][1].update(default="high"),
        "abdef",
    ),
    "an argument for what is the default": (
        lambda spec: nodes_of(spec)["c"]["arguments"].update(level="low"),
        ALL,
    ),
    "an argument": (lambda spec: nodes_of(spec)["c"]["arguments"].update(step="1"), "abdef"),
    "a template that is not used": (lambda spec: spec["jobTemplates"][1]["job"].update(Priority=2), ALL),
    "a parameter": (lambda spec: spec["arguments"].update(size=4), ""),
    "a parameter that no node reads": (lambda spec: spec["arguments"].update(unread="y"), ALL),
    "another name": (lambda spec: nodes_of(spec)["d"].update(name="dd"), "abcef"),
    "a new node": (lambda spec: spec["nodes"].append(node("h", after=["a"])), ALL),
    "a node that is gone": (lambda spec: spec["nodes"].remove(nodes_of(spec)["d"]), "abcef"),
    "the order of nodes": (lambda spec: spec["nodes"].insert(0, spec["nodes"].pop(3)), "dabcef"),
    "targets": (lambda spec: spec.update(targets=["d"]), "abd"),
    "the connection": (lambda spec: spec.update(connectionRef={"name": "other"}), ""),
    "the end": (lambda spec: spec.update({"finally": []}), ALL),
    "what a node says of itself": (lambda spec: nodes_of(spec)["a"].update(description="First."), ALL),
    "how failures are dealt with": (
        lambda spec: nodes_of(spec)["a"].update(
            retry={"limit": 3, "condition": "params.size > 1"}, continueOnFailure=True
        ),
        ALL,
    ),
    "times": (lambda spec: nodes_of(spec)["a"].update(timeout="1m", totalTimeout="2m"), ALL),
    "a job's times": (lambda spec: task(spec, "a").update(Timeouts={"TotalTimeout": 90}), ALL),
    "how the run goes": (
        lambda spec: spec.update(
            parallelism=2, failurePolicy="RunAll", description="Again.", timeouts={"dag": "1h"}
        ),
        ALL,
    ),
}


@pytest.mark.parametrize(("change", "names"), CHANGES.values(), ids=CHANGES.keys())
def test_one_change_runs_its_node_again_and_what_depends_on_it(change: Change, names: str) -> None:
    changed = copy.deepcopy(SPEC)
    change(changed)
    assert taken(candidate(changed), earlier()) == names


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        pytest.param({"b": {"phase": "Failed"}, "d": {"phase": "Omitted"}}, "acef", id="failed"),
        pytest.param({"a": {"phase": "Error"}}, "ef", id="an error, forgiven: what followed is no witness"),
        pytest.param(
            {"e": {"phase": "Skipped"}}, "abcdf", id="skipped: evaluated again, what followed is kept"
        ),
        pytest.param({"d": {"phase": "Omitted"}}, "abcef", id="omitted"),
        pytest.param(
            {"b": {"phase": "Running", "jobID": "j-b"}}, "acef", id="a status that was not written on"
        ),
        pytest.param({"b": None}, "acef", id="unknown"),
        pytest.param({"b": {"phase": "Succeeded"}}, "acef", id="succeeded without a job"),
        pytest.param({"b": {"phase": "Succeeded", "jobID": "j-b"}}, "acef", id="succeeded without an end"),
    ],
)
def test_only_what_went_well_is_taken_over(nodes: dict[str, Json | None], names: str) -> None:
    assert taken(candidate(), earlier(**nodes)) == names


@pytest.mark.parametrize(
    ("expression", "names"),
    [("dag.namespace", "a"), ("dag.name", ""), ("dag.uid", ""), ("string(dag.size())", "")],
)
def test_what_a_job_is_told_of_its_dag_counts(expression: str, names: str) -> None:
    spec = {"nodes": [node("a", job=job(Env={"DAG": f"${{{{ {expression} }}}}"}))]}
    assert taken(candidate(spec), earlier(spec)) == names


def test_values_that_nobody_knows_are_not_the_same() -> None:
    old, new = earlier(), candidate()
    unknown = replace(new.graph, params={})
    assert taken(replace(new, graph=unknown), replace(old, graph=unknown)) == ""


def test_a_deep_graph_is_no_problem() -> None:
    chain = [node(f"n{number}", after=[f"n{number - 1}"] if number else []) for number in range(2000)]
    spec = {"nodes": chain}
    assert len(reuse(candidate(spec), earlier(spec))) == 2000
    assert reuse(candidate(spec), earlier(spec, n0={"phase": "Failed"})) == {}


def test_a_result_keeps_its_job_and_says_whose_it_is() -> None:
    result = reuse(candidate(), earlier())["b"]
    assert result.model_dump(exclude_none=True, by_alias=True, mode="json") == {
        "phase": "Succeeded",
        "jobID": "j-b",
        "jobNamespace": "lab.monday",
        "startedAt": "2027-01-01T00:00:00Z",
        "finishedAt": "2027-01-01T00:01:00Z",
        "exitCode": 0,
        "reason": "Reused",
        "message": 'The result of DAG "monday" was taken over.',
        "outputs": {"uri": "ipfs://Qmb", "cid": "Qmb"},
    }


def test_a_result_that_was_taken_over_can_be_taken_over_again() -> None:
    second = replace(earlier(), name="tuesday", bacalhau_namespace="lab.tuesday")
    second = replace(second, nodes={**second.nodes, **reuse(candidate(), earlier(b={"phase": "Failed"}))})
    third = reuse(candidate(), second)
    assert {name: item.job_namespace for name, item in third.items()} == {
        "a": "lab.monday",
        "b": "lab.tuesday",
        "c": "lab.monday",
        "d": "lab.tuesday",
        "e": "lab.monday",
        "f": "lab.monday",
    }


# Fan-outs

MAP: Json = {
    "nodes": [
        node("split"),
        node("count", after=["split"], forEach={"items": ["x", "y", "z"], "parallelism": 2}),
        node("sum", inputs=["count"]),
    ]
}


def mapped(*phases: str, phase: str = "Succeeded", total: int = 3) -> Earlier:
    """A DAG whose fan-out ended in a phase, and its items in these."""
    items = {
        f"count[{number}]": success("i").model_copy(update={"phase": NodePhase(phases[number])})
        for number in range(len(phases))
    }
    fan_out = {"phase": phase, "finishedAt": "2027-01-01T00:01:00Z", "items": {"total": total}}
    old = earlier(MAP, count=fan_out)
    return replace(old, nodes={**old.nodes, **items})


@pytest.mark.parametrize(
    ("old", "names"),
    [
        pytest.param(
            mapped("Succeeded", "Succeeded", "Succeeded"), ["split", "count", "0", "1", "2", "sum"], id="all"
        ),
        pytest.param(
            mapped("Succeeded", "Skipped", "Succeeded"),
            ["split", "count", "0", "1", "2", "sum"],
            id="skipped",
        ),
        pytest.param(
            mapped("Succeeded", "Failed", "Succeeded"), ["split", "0", "2"], id="enough, but not all"
        ),
        pytest.param(
            mapped("Failed", "Succeeded", "Omitted", phase="Failed"), ["split", "1"], id="the rest runs"
        ),
        pytest.param(mapped("Succeeded", "Succeeded"), ["split", "0", "1"], id="an item is missing"),
        pytest.param(
            mapped("Succeeded", "Succeeded", total=1),
            ["split", "count", "0", "sum"],
            id="an item that should not be there",
        ),
    ],
)
def test_a_fan_out_is_taken_over_by_its_items(old: Earlier, names: list[str]) -> None:
    taken = [name.removeprefix("count[").removesuffix("]") for name in reuse(candidate(MAP), old)]
    assert taken == names


@pytest.mark.parametrize(
    ("for_each", "names"),
    [
        ({"items": ["x", "y", "z"]}, {"split", "count", "sum"}),
        ({"items": ["x", "y", "z"], "minSucceeded": 1}, {"split", "count", "sum"}),
        ({"items": ["x", "z", "y"]}, {"split"}),
        ({"items": "${{ ['x', 'y', 'z'] }}"}, {"split"}),
    ],
    ids=str,
)
def test_another_list_makes_another_fan_out(for_each: Json, names: set[str]) -> None:
    spec = copy.deepcopy(MAP)
    nodes_of(spec)["count"]["forEach"] = for_each
    taken = reuse(candidate(spec), mapped("Succeeded", "Succeeded", "Succeeded"))
    assert {name for name in taken if "[" not in name} == names
    assert any("[" in name for name in taken) is ("count" in names)


def test_items_of_a_fan_out_whose_list_may_be_another_run() -> None:
    spec = copy.deepcopy(MAP)
    nodes_of(spec)["split"]["when"] = "true"
    assert reuse(candidate(spec), mapped("Succeeded", "Failed", "Succeeded", phase="Failed")) == {}


def test_a_run_goes_on_with_the_items_that_are_left() -> None:
    results = reuse(candidate(MAP), mapped("Succeeded", "Failed", "Succeeded", phase="Failed"))
    play = Play(
        DAGSpec.model_validate(MAP), status=DAGStatus(phase=RunPhase.PENDING, nodes=dict(results))
    ).go()
    assert (play.started, play.node("count[1]").attempt) == (["count[1]"], 1)
    play.restart()
    assert play.go().see(**{"count[1]": completed()}).started == ["sum"]
    assert play.see(sum=completed()).run.phase is RunPhase.SUCCEEDED


def test_a_fan_out_that_was_taken_over_has_ended() -> None:
    results = reuse(candidate(MAP), mapped("Succeeded", "Skipped", "Succeeded"))
    results.pop("sum")
    play = Play(DAGSpec.model_validate(MAP), status=DAGStatus(phase=RunPhase.PENDING, nodes=results)).go()
    assert play.started == ["sum"]
    assert play.see(sum=completed()).run.phase is RunPhase.SUCCEEDED
    assert play.status["progress"] == "5/5"


# The run that follows


def heir(*nodes: Json, old: Json | None = None, **fields: Any) -> Play:
    """A run of these nodes that has taken over all it could, before its first advance."""
    spec = {"nodes": list(nodes)} | fields
    results = reuse(candidate(spec), earlier(old or spec))
    return Play(dag(*nodes, **fields), status=DAGStatus(phase=RunPhase.PENDING, nodes=results))


def test_a_run_of_which_everything_was_taken_over_has_succeeded() -> None:
    outputs = [{"name": "result", "from": "b"}]
    play = heir(node("a"), node("b", after=["a"]), outputs=outputs).go()
    assert (play.started, play.run.phase) == ([], RunPhase.SUCCEEDED)
    assert (play.status["progress"], play.status["outputs"]["result"]["cid"]) == ("2/2", "Qmb")


def test_what_was_taken_over_is_mounted() -> None:
    old = {"nodes": [node("a"), node("b", inputs=["a"])]}
    play = heir(node("a"), node("b", inputs=["a"], when="true"), old=old).go()
    assert play.started == ["b"]
    sources = play.jobs["b"]["Tasks"][0]["InputSources"]
    assert sources == [{"Source": {"Type": "ipfs", "Params": {"CID": "Qma"}}, "Target": "/inputs/a"}]


READER = [node("a"), node("b", reads=["a"])]


def test_output_that_was_taken_over_is_read_from_its_job() -> None:
    play = heir(*READER, old={"nodes": READER[:1]})
    assert play.run.reader.missing_stdout() == [("a", "j-a")]
    play.go(JobSeen(node="a", attempt=0, sighting=identified(completed(stdout="seven"), "j-a")))
    assert play.jobs["b"]["Tasks"][0]["Engine"]["Params"]["Parameters"] == ["seven"]


def test_output_that_nobody_knows_any_more_is_an_error() -> None:
    play = heir(*READER, old={"nodes": READER[:1]}).go()
    assert play.run.phase is RunPhase.ERROR
    assert (play.node("b").reason, play.node("b").attempt) == ("InvalidJob", 1)
    assert "stdout" in str(play.node("b").message)


def test_a_result_stays_taken_over_through_a_restart() -> None:
    play = heir(*READER[:1], node("c"), old={"nodes": READER[:1]}).go()
    play.restart()
    play.go().see(c=completed())
    assert (play.run.phase, play.node("a").reason) == (RunPhase.SUCCEEDED, REUSED)
    assert play.status["nodes"]["a"]["jobNamespace"] == "lab.monday" != CONTEXT.bacalhau_namespace


def test_the_time_of_finally_counts_from_the_start_of_the_run() -> None:
    fields: Json = {"finally": [node("z")], "timeouts": {"finally": "1m"}}
    play = heir(node("a"), **fields).go()
    assert play.started == ["z"]
    assert play.see(z=completed()).run.phase is RunPhase.SUCCEEDED

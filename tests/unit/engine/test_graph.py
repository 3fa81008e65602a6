"""Every mistake that can be known before a run, as the user sees it; and the shape of what is compiled."""

import re
from itertools import pairwise
from typing import Any

import pytest

from controller.api.dag import DAGSpec
from controller.engine import Graph, InvalidDAG, graph_hash
from tests.support.builders import Json, dag, job, node

TOOL: Json = {
    "name": "tool",
    "parameters": [{"name": "step"}, {"name": "count", "type": "integer", "default": 1}],
}
TOOL["job"] = job(Env={"STEP": "${{ inputs.step }}"})


def problems(spec: DAGSpec) -> list[str]:
    """What is wrong with a DAG."""
    with pytest.raises(InvalidDAG) as caught:
        Graph.compile(spec)
    return [str(problem) for problem in caught.value.problems]


def templated(**fields: Any) -> Json:
    return node("a", template="tool", **fields)


MISTAKES: dict[str, tuple[DAGSpec, str]] = {
    "dependency unknown, with a hint": (
        dag(node("split"), node("count", after=["splt"])),
        'spec.nodes[count].dependencies[0]: "splt" is not a node of this DAG; did you mean "split"?',
    ),
    "dependency unknown, nothing like it": (
        dag(node("a", after=["zzz"])),
        'spec.nodes[a].dependencies[0]: "zzz" is not a node of this DAG.',
    ),
    "input unknown": (
        dag(node("split"), node("count", inputs=["spilt"])),
        'spec.nodes[count].inputs[0].from: "spilt" is not a node of this DAG; did you mean "split"?',
    ),
    "output unknown": (
        dag(node("total"), outputs=[{"name": "result", "from": "totl"}]),
        'spec.outputs[0].from: "totl" is not a node of this DAG; did you mean "total"?',
    ),
    "dependency on itself": (
        dag(node("a", after=["a"])),
        'spec.nodes[a].dependencies[0]: "a" cannot depend on itself.',
    ),
    "input from itself": (
        dag(node("a", inputs=["a"])),
        'spec.nodes[a].inputs[0].from: "a" cannot depend on itself.',
    ),
    "expression that reads itself": (
        dag(node("a", reads=["a"])),
        'spec.nodes[a]: the expression nodes.a: "a" cannot depend on itself.',
    ),
    "two nodes of one name": (
        dag(node("a"), node("b"), node("a")),
        'spec.nodes[2].name: "a" is already the name of another item.',
    ),
    "two templates of one name": (
        dag(templated(arguments={"step": "x"}), jobTemplates=[TOOL, TOOL]),
        'spec.jobTemplates[1].name: "tool" is already the name of another item.',
    ),
    "two parameters of one name": (
        dag(node("a"), parameters=[{"name": "p", "default": "x"}, {"name": "p", "default": "y"}]),
        'spec.parameters[1].name: "p" is already the name of another item.',
    ),
    "two outputs of one name": (
        dag(node("a"), outputs=[{"name": "o", "from": "a"}, {"name": "o", "from": "a"}]),
        'spec.outputs[1].name: "o" is already the name of another item.',
    ),
    "inputs at one target": (
        dag(node("a"), node("b"), node("c", inputs=["a", {"from": "b", "target": "/inputs/a"}])),
        'spec.nodes[c].inputs[1].target: "/inputs/a" is the target of another input.',
    ),
    "neither job nor template": (
        dag({"name": "a"}),
        "spec.nodes[a]: a node has exactly one of job, template and suspend.",
    ),
    "both job and template": (
        dag(templated(job=job()), jobTemplates=[TOOL]),
        "spec.nodes[a]: a node has exactly one of job, template and suspend.",
    ),
    "arguments without a template": (
        dag(node("a", arguments={"step": "x"})),
        "spec.nodes[a].arguments: arguments are for a template; this node has a job of its own.",
    ),
    "template unknown": (
        dag(node("a", template="tol"), jobTemplates=[TOOL]),
        'spec.nodes[a].template: "tol" is not a job template of this DAG; did you mean "tool"?',
    ),
    "argument unknown": (
        dag(templated(arguments={"step": "x", "cuont": 2}), jobTemplates=[TOOL]),
        'spec.nodes[a].arguments.cuont: "cuont" is not a parameter of the job template "tool"; did you mean "count"?',
    ),
    "argument missing": (
        dag(templated(), jobTemplates=[TOOL]),
        'spec.nodes[a].arguments.step: the parameter "step" of the job template "tool" needs a value, or a default.',
    ),
    "argument of another type": (
        dag(templated(arguments={"step": 7}), jobTemplates=[TOOL]),
        "spec.nodes[a].arguments.step: 7 is not of type string.",
    ),
    "value of a parameter unknown": (
        dag(node("a"), arguments={"corpus": "x"}),
        'spec.arguments.corpus: "corpus" is not a parameter of the DAG.',
    ),
    "value of a parameter missing": (
        dag(node("a"), parameters=[{"name": "corpus"}]),
        'spec.arguments.corpus: the parameter "corpus" of the DAG needs a value, or a default.',
    ),
    "value of a parameter of another type": (
        dag(node("a"), parameters=[{"name": "n", "type": "integer"}], arguments={"n": "7"}),
        'spec.arguments.n: "7" is not of type integer.',
    ),
    "value of a parameter is no expression": (
        dag(node("a"), parameters=[{"name": "n", "type": "integer"}], arguments={"n": "${{ 7 }}"}),
        'spec.arguments.n: "${{ 7 }}" is not of type integer.',
    ),
    "default of another type": (
        dag(node("a"), parameters=[{"name": "n", "type": "number", "default": True}]),
        "spec.parameters[0].default: true is not of type number.",
    ),
    "default of another type in a template": (
        dag(node("a"), jobTemplates=[TOOL | {"parameters": [{"name": "step", "default": 1}]}]),
        "spec.jobTemplates[tool].parameters[0].default: 1 is not of type string.",
    ),
    "expression with a parameter unknown": (
        dag(
            node("a", job=job(Env={"A": "${{ params.crpus }}"})),
            parameters=[{"name": "corpus", "default": ""}],
        ),
        'spec.nodes[a].job: the expression params.crpus: "crpus" is not a parameter of the DAG; '
        'did you mean "corpus"?',
    ),
    "expression with inputs outside a template": (
        dag(node("a", job=job(Env={"A": "${{ inputs.step }}"}))),
        'spec.nodes[a].job: the expression inputs.step: "step" is not a parameter of the template.',
    ),
    "expression with an unknown input": (
        dag(templated(), jobTemplates=[{"name": "tool", "job": job(Env={"A": "${{ inputs.stp }}"})}]),
        'spec.jobTemplates[tool].job: the expression inputs.stp: "stp" is not a parameter of the template.',
    ),
    "expression with a node unknown": (
        dag(node("split"), node("b", reads=["splitt"])),
        'spec.nodes[b].job: the expression nodes.splitt: "splitt" is not a node of this DAG; did you mean "split"?',
    ),
    "expression that does not name its node": (
        dag(node("a"), node("b", job=job(Env={"A": "${{ nodes[params.x].stdout }}"}))),
        'spec.nodes[b].job: an expression reads nodes without naming one; write nodes["name"] to wait for it.',
    ),
    "expression with an unknown fact of the DAG": (
        dag(node("a", job=job(Env={"A": "${{ dag.nmae }}"}))),
        'spec.nodes[a].job: the expression dag.nmae: "nmae" is not known of a DAG; did you mean "name"?',
    ),
    "expression in an argument": (
        dag(templated(arguments={"step": "${{ params.p }}"}), jobTemplates=[TOOL]),
        'spec.nodes[a].arguments: the expression params.p: "p" is not a parameter of the DAG.',
    ),
    "expression with an unknown variable": (
        dag(node("a", job=job(Env={"A": "${{ item }}"}))),
        "spec.nodes[a].job.Tasks[0].Env.A: the expression \"item\" is wrong: column 1: undeclared reference to 'item'; "
        'the variables are params, inputs, nodes and dag, and a name with a hyphen is written as in nodes["a-b"].',
    ),
    "expression that is not closed": (
        dag(node("a", job=job(Env={"A": "x ${{ 1"}))),
        'spec.nodes[a].job.Tasks[0].Env.A: "x ${{ 1" opens an expression with ${{ and never closes it with }}.',
    ),
}


@pytest.mark.parametrize(("spec", "problem"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_named_by_field_and_value(spec: DAGSpec, problem: str) -> None:
    assert problem in problems(spec)


@pytest.mark.parametrize("value", ["text", "${{ params.p }}"])
def test_an_argument_with_an_expression_may_be_of_any_type(value: str) -> None:
    spec = dag(
        templated(arguments={"step": "x", "count": value}),
        jobTemplates=[TOOL],
        parameters=[{"name": "p", "type": "integer", "default": 2}],
    )
    if value == "text":
        assert problems(spec) == ['spec.nodes[a].arguments.count: "text" is not of type integer.']
    else:
        Graph.compile(spec)


def test_a_cycle_names_its_nodes_in_running_order() -> None:
    before = node("before")
    cycle = [node("a", after=["c", "before"]), node("b", inputs=["a"]), node("c", reads=["b"])]
    after = node("after", after=["c"])
    (problem,) = problems(dag(after, before, *cycle))
    assert problem.startswith("spec.nodes: the nodes form a cycle: ")
    names = re.findall(r"[a-z]+", problem.removeprefix("spec.nodes: the nodes form a cycle: "))
    assert names[0] == names[-1]
    assert set(names) == {"a", "b", "c"}
    assert all(pair in {("a", "b"), ("b", "c"), ("c", "a")} for pair in pairwise(names))


def test_all_mistakes_are_found_at_once_in_the_order_of_the_document() -> None:
    spec = dag(node("a", after=["x"]), node("b", template="t"), outputs=[{"name": "o", "from": "y"}])
    assert [problem.split(":")[0] for problem in problems(spec)] == [
        "spec.nodes[a].dependencies[0]",
        "spec.nodes[b].template",
        "spec.outputs[0].from",
    ]


def test_a_long_list_of_mistakes_is_cut_short() -> None:
    with pytest.raises(InvalidDAG) as caught:
        Graph.compile(dag(*(node(f"n{number}", after=["x" * 63] * 200) for number in range(50))))
    assert len(caught.value.problems) == 10_000
    assert str(caught.value).endswith("; and 9990 more")
    assert len(str(caught.value)) < 4096


def test_edges_come_from_dependencies_inputs_and_expressions() -> None:
    graph = Graph.compile(
        dag(
            node("late", after=["a"], inputs=["b"], reads=["c-1"]),
            node("a"),
            node("b"),
            node("c-1"),
            node("d", template="tool", arguments={"step": "${{ nodes.a.exitCode }}"}),
            jobTemplates=[TOOL],
        )
    )
    by_name = {item.name: item for item in graph.nodes}
    assert [graph.nodes[index].name for index in by_name["late"].dependencies] == ["a", "b", "c-1"]
    assert [graph.nodes[index].name for index in by_name["late"].reads] == ["c-1"]
    assert [graph.nodes[index].name for index in by_name["a"].dependents] == ["late", "d"]
    assert [item.index for item in graph.nodes] == [0, 1, 2, 3, 4]


def test_an_edge_that_is_given_twice_counts_once() -> None:
    graph = Graph.compile(dag(node("a"), node("b", after=["a", "a"], inputs=["a"], reads=["a"])))
    assert graph.nodes[1].dependencies == (0,)
    assert graph.nodes[0].dependents == (1,)


def test_a_template_that_reads_a_node_makes_an_edge_to_each_of_its_users() -> None:
    template = {"name": "tool", "job": job(Env={"A": "${{ nodes.first.stdout }}"})}
    graph = Graph.compile(dag(node("first"), node("b", template="tool"), jobTemplates=[template]))
    assert graph.nodes[1].dependencies == (0,)


def test_defaults_and_arguments_become_parameters() -> None:
    parameters = [{"name": "a", "default": None, "type": "string"}, {"name": "b", "type": "object"}]
    spec = dag(node("n"), parameters=parameters, arguments={"b": {"x": 1}})
    assert problems(spec) == ["spec.parameters[0].default: null is not of type string."]
    spec = dag(
        node("n"), parameters=[{"name": "a", "default": "x"}, parameters[1]], arguments={"b": {"x": 1}}
    )
    assert Graph.compile(spec).params == {"a": "x", "b": {"x": 1}}


def test_the_hash_leaves_out_what_may_change_while_a_run_goes_on() -> None:
    spec = dag(node("a"), node("b", after=["a"]))
    same = dag(node("a"), node("b", after=["a"]), suspend=True, parallelism=3, description="x")
    assert graph_hash(same) == graph_hash(spec) == Graph.compile(spec).hash
    assert graph_hash(dag(node("a"), node("b"))) != graph_hash(spec)
    assert graph_hash(dag(node("a"), node("b", after=["a"]), failurePolicy="RunAll")) != graph_hash(spec)


def test_a_deep_graph_is_not_walked_recursively() -> None:
    chain = [node("n0"), *(node(f"n{number}", after=[f"n{number - 1}"]) for number in range(1, 2500))]
    assert len(Graph.compile(dag(*reversed(chain))).nodes) == 2500

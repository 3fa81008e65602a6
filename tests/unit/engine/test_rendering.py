"""The job that is submitted for an attempt of a node."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.api.artifact import Artifact
from controller.api.bacalhau import META_SPEC_HASH
from controller.api.dag import DAGSpec
from controller.engine import Graph
from controller.engine.identity import fingerprint
from controller.engine.problems import RenderError
from controller.engine.rendering import render_job, variables
from tests.support.builders import CONTEXT, Json, dag, job, node

PLAIN = Artifact(uri="s3://results/a/", region="us-east-1", endpoint="http://s3")
DOCKER: Json = {"Type": "docker", "Params": {"Image": "alpine"}}


def rendered(document: Json, *, attempt: int = 1, artifact: Artifact | None = None, **fields: Any) -> Json:
    """The job of the node "b", which may depend on the node "a"."""
    graph = Graph.compile(dag(node("a"), document, **fields))
    results = {"a": {"phase": "Succeeded", "exitCode": 0, "stdout": "hello\n", "outputs": {"cid": "QmA"}}}
    return render_job(
        node=graph.nodes[1],
        context=CONTEXT,
        attempt=attempt,
        results={"a": artifact},
        bindings=variables(graph, CONTEXT, results, {}),
    )


def task_of(given: Json, **options: Any) -> Json:
    """The task rendered for a node with this task."""
    task: Json = rendered(node("b", job={"Tasks": [given]}), **options)["Tasks"][0]
    return task


def refusal(document: Json, **options: Any) -> str:
    """Why a node cannot be rendered."""
    with pytest.raises(RenderError) as caught:
        rendered(document, **options)
    return str(caught.value)


# Identity


def test_a_job_carries_who_it_is() -> None:
    document = rendered(node("b"), attempt=2)
    assert document["Name"].startswith("count-b-")
    assert document["Namespace"] == CONTEXT.bacalhau_namespace
    identity = {
        "dag.bacalhau.org/namespace": "lab",
        "dag.bacalhau.org/dag": "count",
        "dag.bacalhau.org/uid": CONTEXT.uid,
        "dag.bacalhau.org/node": "b",
        "dag.bacalhau.org/attempt": "2",
    }
    assert document["Labels"] == identity
    assert {name: value for name, value in document["Meta"].items() if name != META_SPEC_HASH} == identity


def test_attempts_differ_in_nothing_but_who_they_are() -> None:
    one, two = (rendered(node("b"), attempt=attempt) for attempt in (1, 2))
    assert one["Name"] != two["Name"]
    for document in (one, two):
        document["Name"] = document["Labels"] = document["Meta"] = None
    assert one == two


def test_the_hash_covers_the_job_but_not_its_identity() -> None:
    document = rendered(node("b"))
    hashed = {name: value for name, value in document.items() if name not in ("Labels", "Meta")}
    assert document["Meta"][META_SPEC_HASH] == fingerprint(hashed)
    other = rendered(node("b", job=job(Env={"A": "b"})))
    assert other["Meta"][META_SPEC_HASH] != document["Meta"][META_SPEC_HASH]


def test_the_user_s_labels_and_meta_stay_and_cannot_pose_as_the_operator_s() -> None:
    given = job() | {"Labels": {"team": "x", "dag.bacalhau.org/node": "other"}, "Meta": {"k": "v"}}
    document = rendered(node("b", job=given))
    assert document["Labels"]["team"] == "x"
    assert document["Labels"]["dag.bacalhau.org/node"] == "b"
    assert document["Meta"]["k"] == "v"


@pytest.mark.parametrize(
    ("expression", "label"),
    [("1", "1"), ("true", "true"), ("null", "null"), ("1.5", "1.5"), ("'é b'", "é b")],
)
def test_labels_become_text(expression: str, label: str) -> None:
    given = job() | {"Labels": {"x": f"${{{{ {expression} }}}}"}}
    assert rendered(node("b", job=given))["Labels"]["x"] == label


@pytest.mark.parametrize("field", ["Labels", "Meta"])
@pytest.mark.parametrize(("values", "said"), [({"": "x"}, '.: "x"'), ({"x": "${{ [1] }}"}, ".x: [1]")])
def test_garbage_for_labels_is_named(field: str, values: Json, said: str) -> None:
    message = refusal(node("b", job=job() | {field: values}))
    assert message == f"spec.nodes[b].job.{field}{said} is not a text with a name."


# Defaults


def test_defaults_that_decide_are_explicit() -> None:
    document = rendered(node("b", job={"Tasks": [{"Engine": DOCKER}]}))
    assert (document["Type"], document["Count"]) == ("batch", 1)
    assert document["Tasks"][0] == {
        "Name": "main",
        "Engine": DOCKER,
        "Timeouts": {"ExecutionTimeout": 3600, "QueueTimeout": 300, "TotalTimeout": 3900},
    }


def test_webassembly_gets_its_entry_point() -> None:
    params = task_of({"Engine": {"Type": "WASM", "Params": {"EntryModule": "/m"}}})["Engine"]["Params"]
    assert params == {"Entrypoint": "_start", "EntryModule": "/m"}
    params = task_of({"Engine": {"Type": "wasm", "Params": {"Entrypoint": "main"}}})["Engine"]["Params"]
    assert params == {"Entrypoint": "main"}
    assert task_of({"Engine": {"Type": "wasm"}})["Engine"]["Params"] == {"Entrypoint": "_start"}


def test_what_the_operator_does_not_know_survives_unchanged() -> None:
    given = {
        "type": "ops",
        "Priority": 7,
        "Constraints": [{"Key": "zone", "Operator": "in", "Values": ["eu"]}],
        "NewField": {"deep": [1, None, {"x": True}]},
        "tasks": [
            {
                "name": "t",
                "engine": {"type": "docker", "params": {"image": "alpine", "EnvironmentVariables": ["A=b"]}},
                "Resources": {"CPU": "500m", "TPU": 1},
                "Network": {"Type": "HTTP", "Domains": ["a.b"], "Ports": [1]},
                "AnotherField": "x",
            }
        ],
    }
    document = rendered(node("b", job=given))
    assert (document["Type"], document["Priority"]) == ("ops", 7)
    assert document["Constraints"] == given["Constraints"]
    assert document["NewField"] == given["NewField"]
    task = document["Tasks"][0]
    assert task["Name"] == "t"
    assert task["Engine"]["Params"] == {"image": "alpine", "EnvironmentVariables": ["A=b"]}
    assert task["Resources"] == {"CPU": "500m", "TPU": 1}
    assert task["Network"] == {"Type": "HTTP", "Domains": ["a.b"], "Ports": [1]}
    assert task["AnotherField"] == "x"


def test_rendering_leaves_the_template_as_it_is() -> None:
    document = node("b", job=job(InputSources=[{"Source": {"Type": "ipfs"}, "Target": "/x"}]), inputs=["a"])
    graph = Graph.compile(dag(node("a"), document))
    before = json.dumps(graph.nodes[1].job.tree)
    for _ in range(2):
        document = render_job(
            node=graph.nodes[1],
            context=CONTEXT,
            attempt=1,
            results={"a": PLAIN},
            bindings=variables(graph, CONTEXT, {}, {}),
        )
        document["Tasks"][0]["InputSources"][0]["Source"]["Type"] = "changed"
    assert json.dumps(graph.nodes[1].job.tree) == before


# Timeouts


@pytest.mark.parametrize(
    ("execution", "queue", "total", "expected"),
    [
        (None, None, None, (3600, 300, 3900)),
        (60, None, None, (60, 300, 360)),
        (None, 30, None, (3600, 30, 3630)),
        (60, 30, None, (60, 30, 90)),
        (None, None, 1000, (700, 300, 1000)),
        (None, None, 100, (50, 50, 100)),
        (None, None, 1, (1, 0, 1)),
        (60, None, 1000, (60, 300, 1000)),
        (90, None, 100, (90, 10, 100)),
        (100, None, 100, (100, 0, 100)),
        (None, 30, 100, (70, 30, 100)),
        (50, 30, 100, (50, 30, 100)),
        (60, 40, 100, (60, 40, 100)),
        (0, 0, 0, (3600, 300, 3900)),
        ("60", "${{ 30 }}", None, (60, 30, 90)),
    ],
)
def test_timeouts_are_explicit_and_fit(
    execution: Any, queue: Any, total: Any, expected: tuple[int, int, int]
) -> None:
    given = {"ExecutionTimeout": execution, "QueueTimeout": queue, "TotalTimeout": total}
    given = {name: value for name, value in given.items() if value is not None}
    timeouts = task_of({"Engine": DOCKER, "Timeouts": given})["Timeouts"]
    assert tuple(timeouts[name] for name in ("ExecutionTimeout", "QueueTimeout", "TotalTimeout")) == expected
    assert timeouts["ExecutionTimeout"] + timeouts["QueueTimeout"] <= timeouts["TotalTimeout"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"TotalTimeout": "soon"}, '.TotalTimeout: "soon" is not a whole number of seconds.'),
        ({"QueueTimeout": -1}, ".QueueTimeout: -1 is not a whole number of seconds."),
        ({"ExecutionTimeout": "${{ 1.5 }}"}, ".ExecutionTimeout: 1.5 is not a whole number of seconds."),
        ({"ExecutionTimeout": "${{ true }}"}, ".ExecutionTimeout: true is not a whole number of seconds."),
        (
            {"ExecutionTimeout": 80, "QueueTimeout": 30, "TotalTimeout": 100},
            ".TotalTimeout: 100 seconds do not hold a QueueTimeout of 30 and an ExecutionTimeout of 80.",
        ),
        (
            {"QueueTimeout": 100, "TotalTimeout": 100},
            ".TotalTimeout: 100 seconds do not hold a QueueTimeout of 100 and an ExecutionTimeout of 1.",
        ),
    ],
)
def test_impossible_timeouts_are_named(given: Json, said: str) -> None:
    message = refusal(node("b", job=job(Timeouts=given)))
    assert message == f"spec.nodes[b].job.Tasks[0].Timeouts{said}"


# Inputs


@pytest.mark.parametrize(
    ("artifact", "item", "source", "target"),
    [
        (Artifact(uri="ipfs://QmA", cid="QmA"), {}, {"Type": "ipfs", "Params": {"CID": "QmA"}}, "/inputs/a"),
        (
            Artifact(uri="ipfs://QmA", cid="QmA"),
            {"output": "outputs", "target": "/data"},
            {"Type": "ipfs", "Params": {"CID": "QmA/outputs"}},
            "/data",
        ),
        (
            PLAIN,
            {"output": "outputs"},
            {
                "Type": "s3",
                "Params": {
                    "Bucket": "results",
                    "Key": "a/outputs/*",
                    "Region": "us-east-1",
                    "Endpoint": "http://s3",
                },
            },
            "/inputs/a",
        ),
        (
            Artifact(uri="s3://results/a.tar.gz"),
            {},
            {"Type": "s3", "Params": {"Bucket": "results", "Key": "a.tar.gz"}},
            "/inputs/a",
        ),
        (
            Artifact(uri="http://h:6001/e.tar.gz"),
            {},
            {"Type": "urlDownload", "Params": {"URL": "http://h:6001/e.tar.gz"}},
            "/inputs/a",
        ),
    ],
)
def test_an_input_is_mounted_after_the_user_s_own(
    artifact: Artifact, item: Json, source: Json, target: str
) -> None:
    own = {"Source": {"Type": "ipfs", "Params": {"CID": "QmOwn"}}, "Target": "/own", "Alias": "o"}
    document = node("b", job=job(InputSources=[own]), inputs=[{"from": "a"} | item])
    sources = rendered(document, artifact=artifact)["Tasks"][0]["InputSources"]
    assert sources == [own, {"Source": source, "Target": target}]


@pytest.mark.parametrize(
    ("artifact", "inputs", "said"),
    [
        (
            None,
            ["a"],
            '.inputs[0].from: node "a" published nothing; give its job a Publisher (ipfs, s3 or local), or make the input optional.',
        ),
        (PLAIN, [{"from": "a", "target": "/own"}], '.inputs[0].target: "/own" is already the target'),
        (
            Artifact(uri="s3://b/a.tar.gz"),
            [{"from": "a", "output": "outputs"}],
            '.inputs[0].output: "outputs" cannot be mounted alone',
        ),
    ],
)
def test_an_input_that_cannot_be_mounted_is_named(
    artifact: Artifact | None, inputs: list[Any], said: str
) -> None:
    own = {"Source": {"Type": "ipfs", "Params": {"CID": "QmOwn"}}, "Target": "/own"}
    document = node("b", job=job(InputSources=[own]), inputs=inputs)
    assert refusal(document, artifact=artifact).startswith(f"spec.nodes[b]{said}")


# Values


def test_arguments_results_and_facts_reach_the_job_with_their_types() -> None:
    template = {
        "name": "tool",
        "parameters": [
            {"name": "n", "type": "integer"},
            {"name": "items", "type": "array", "default": [1]},
            {"name": "text"},
        ],
        "job": job(
            Engine={
                "Type": "docker",
                "Params": {
                    "N": "${{ inputs.n }}",
                    "Items": "${{ inputs.items }}",
                    "Text": "${{ inputs.text }}",
                },
            },
            Env={"DAG": "${{ dag.namespace }}/${{ dag.name }}", "ON": "${{ true }}", "N": "${{ inputs.n }}"},
        ),
    }
    arguments = {
        "n": "${{ params.n + 1 }}",
        "text": "${{ nodes.a.stdout.trim() }} ${{ nodes.a.outputs.cid }}",
    }
    document = rendered(
        node("b", template="tool", arguments=arguments),
        jobTemplates=[template],
        parameters=[{"name": "n", "type": "integer"}],
        arguments={"n": 6},
    )
    task = document["Tasks"][0]
    assert task["Engine"]["Params"] == {"N": 7, "Items": [1], "Text": "hello QmA"}
    assert task["Env"] == {"DAG": "lab/count", "ON": "true", "N": "7"}


@pytest.mark.parametrize("value", ["${{ 1 + 1 }}", '"; ${{ dag.uid }} "', "'}} ${{"])
def test_a_value_is_never_evaluated(value: str) -> None:
    template = {"name": "tool", "parameters": [{"name": "p"}], "job": job(Env={"P": "${{ inputs.p }}"})}
    document = rendered(
        node("b", template="tool", arguments={"p": "${{ params.p }}"}),
        jobTemplates=[template],
        parameters=[{"name": "p"}],
        arguments={"p": value},
    )
    assert document["Tasks"][0]["Env"] == {"P": value}


def test_a_default_of_a_template_is_a_value_and_not_an_expression() -> None:
    template: Json = {"name": "tool", "parameters": [{"name": "p", "default": "${{ dag.uid }}"}]}
    template["job"] = job(Env={"P": "${{ inputs.p }}"})
    document = rendered(node("b", template="tool"), jobTemplates=[template])
    assert document["Tasks"][0]["Env"] == {"P": "${{ dag.uid }}"}


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (node("b", job=job() | {"Type": "service"}), '.job.Type: "service" is not a kind of job that ends'),
        (node("b", job=job() | {"Type": "${{ [1] }}"}), ".job.Type: [1] is not a kind of job that ends"),
        (node("b", job=job() | {"Count": "two"}), '.job.Count: "two" is not a whole number.'),
        (node("b", job=job() | {"Count": -1}), ".job.Count: -1 is not a whole number."),
        (node("b", job=job() | {"Count": "${{ true }}"}), ".job.Count: true is not a whole number."),
        (node("b", job=job() | {"Count": 2}), ".job.Count: 2 partitions cannot publish one result"),
        (node("b", job={"Type": "batch"}), ".job.Tasks: a job has exactly one task."),
        (node("b", job={"Tasks": []}), ".job.Tasks: a job has exactly one task."),
        (
            node("b", job={"Tasks": [{}]}),
            ".job.Tasks[0].Engine.Type: the engine is missing; write docker or wasm.",
        ),
        (
            node("b", job=job(Env={"A": "${{ nodes.a.outputs.missing }}"})),
            '.job.Tasks[0].Env.A: ${{ nodes.a.outputs.missing }} has no value: Key not found in map : "missing".',
        ),
    ],
)
def test_what_cannot_be_a_job_is_named(document: Json, said: str) -> None:
    assert refusal(document).startswith(f"spec.nodes[b]{said}")


def test_an_argument_that_comes_out_with_another_type_is_named() -> None:
    template = {"name": "tool", "parameters": [{"name": "n", "type": "integer"}], "job": job()}
    document = node("b", template="tool", arguments={"n": "${{ nodes.a.stdout }}"})
    assert refusal(document, jobTemplates=[template]) == (
        'spec.nodes[b].arguments.n: "hello\n" is not of type integer.'
    )


# Determinism

SPEC: Json = {
    "nodes": [
        node("a"),
        node(
            "b",
            inputs=["a"],
            job=job(Env={f"V{n}": f"${{{{ {{'z': {n}, 'a': params.p}} }}}}" for n in range(5)})
            | {"Labels": {"x": "${{ {'b': 1, 'a': 2}.size() }}"}},
        ),
    ],
    "parameters": [{"name": "p", "type": "object"}],
    "arguments": {"p": {"y": 1, "x": {"d": 1, "c": 2}}},
}

PROGRAM = """
import json, sys
sys.path.insert(0, ".")
from tests.unit.engine.test_rendering import bytes_of, SPEC
sys.stdout.buffer.write(bytes_of(SPEC))
"""


def bytes_of(spec: Json) -> bytes:
    """The rendered bytes of the second node."""
    graph = Graph.compile(DAGSpec.model_validate(spec))
    document = render_job(
        node=graph.nodes[1],
        context=CONTEXT,
        attempt=1,
        results={"a": PLAIN},
        bindings=variables(graph, CONTEXT, {}, {}),
    )
    return json.dumps(document).encode()


def test_the_same_attempt_renders_to_the_same_bytes_here_and_elsewhere() -> None:
    here = bytes_of(SPEC)
    assert bytes_of(json.loads(json.dumps(SPEC))) == here
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        elsewhere = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, stdout=subprocess.PIPE, check=True, timeout=60
        )
        assert elsewhere.stdout == here


# Robustness

leaves = st.sampled_from(
    ["x", "", "${{ 1 }}", "${{ [1] }}", "${{ {'a': null} }}", "${{ null }}", "${{ 1.5 }}", "7"]
)
plugins = st.fixed_dictionaries(
    {}, optional={"Type": leaves, "Params": st.dictionaries(leaves, leaves, max_size=2)}
)
tasks = st.fixed_dictionaries(
    {"Engine": plugins},
    optional={
        "Name": leaves,
        "Publisher": plugins,
        "Env": st.dictionaries(leaves, leaves, max_size=2),
        "InputSources": st.lists(
            st.fixed_dictionaries({}, optional={"Source": plugins, "Target": leaves, "Alias": leaves}),
            max_size=2,
        ),
        "Timeouts": st.fixed_dictionaries({}, optional={"TotalTimeout": leaves, "QueueTimeout": leaves}),
        "ResultPaths": st.none() | st.just([{"Name": "o", "Path": "/o"}]),
    },
)
jobs = st.fixed_dictionaries(
    {"Tasks": st.lists(tasks, max_size=1)},
    optional={
        "Type": leaves,
        "Count": leaves,
        "Labels": st.none() | st.dictionaries(leaves, leaves, max_size=2),
        "Meta": st.dictionaries(leaves, leaves, max_size=2),
        "Priority": leaves,
    },
)


@given(jobs)
def test_every_job_renders_to_json_or_is_refused_with_a_reason(document: Json) -> None:
    try:
        result = rendered(node("b", job=document, inputs=["a"]), artifact=PLAIN)
    except RenderError:
        return
    assert json.loads(json.dumps(result, allow_nan=False)) == result

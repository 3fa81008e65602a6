"""Whatever is wrong with a DAG is named by its field and value, and no other DAG notices.

Some of it the API server refuses; the rest is for the operator to say, in the status and in an Event.
"""

from __future__ import annotations

import pytest

from controller.api.status import RunPhase
from dev.servers.kubectl import KubectlError
from tests.support.dags import Manifest, job_step, manifest, step
from tests.support.workspace import Workspace, status

pytestmark = pytest.mark.e2e


def printing(*words: str) -> Manifest:
    """A DAG of one node that prints something."""
    return manifest("bad", step("only", *words))


def labelled(**labels: object) -> Manifest:
    """A DAG whose one job has labels."""
    node = job_step("only", "exit", "0")
    node["job"]["Labels"] = labels
    return manifest("bad", node)


def huge() -> Manifest:
    """A DAG of 0.7 MB whose job is of 2.1 MB."""
    text = "${{ params.text }}"
    bad = printing("stdout", text, "stdout", text, "stdout", text)
    bad["spec"] |= {"parameters": [{"name": "text"}], "arguments": {"text": "x" * 700_000}}
    return bad


@pytest.mark.parametrize(
    ("bad", "complaints"),
    [
        pytest.param(
            manifest("bad", step("a", inputs=["c"]), step("b", inputs=["a"]), step("c", inputs=["b"])),
            ["spec.nodes", "the nodes form a cycle: ", "b → c → a → b"],
            id="a cycle",
        ),
        pytest.param(
            manifest("bad", step("count"), step("sum", inputs=["cuont"])),
            ["spec.nodes[sum].inputs[0].from", '"cuont"', '"count"'],
            id="an unknown node",
        ),
        pytest.param(
            manifest("bad", step("count") | {"template": "tol"}),
            ["spec.nodes[count].template", '"tol"', '"tool"'],
            id="an unknown template",
        ),
        pytest.param(
            printing("stdout", "${{ params.whom }}") | {},
            ["spec.nodes[only].arguments", "params.whom"],
            id="an unknown parameter",
        ),
        pytest.param(
            printing("stdout", "${{ 1 + }}"),
            ["spec.nodes[only].arguments.words[1]", "1 +"],
            id="a bad expression",
        ),
        pytest.param(
            printing("stdout", "${{ [1, 2][5] }}"),
            ["spec.nodes[only]", "[1, 2][5]"],
            id="an expression without value",
        ),
        pytest.param(
            manifest("bad", step("only"), parameters=[{"name": "corpus"}]),
            ["spec.arguments", "corpus"],
            id="a parameter without value",
        ),
        pytest.param(
            manifest(
                "bad", step("only"), parameters=[{"name": "n", "type": "integer"}], arguments={"n": "many"}
            ),
            ["spec.arguments.n", '"many"', "integer"],
            id="a parameter of another type",
        ),
        pytest.param(
            manifest("bad", job_step("only", Timeouts={"ExecutionTimeout": "10 parsecs"})),
            ["spec.nodes[only].job.Tasks[0].Timeouts.ExecutionTimeout", '"10 parsecs"'],
            id="a wrong duration",
        ),
        pytest.param(
            labelled(**{"": "nameless"}), ["spec.nodes[only].job.Labels", '"nameless"'], id="a nameless label"
        ),
        pytest.param(huge(), ["is too large", "bytes of JSON"], id="a job of two megabytes"),
    ],
)
async def test_what_is_wrong_is_named_and_disturbs_nobody(
    workspace: Workspace, bad: Manifest, complaints: list[str]
) -> None:
    workspace.apply(bad, manifest("good", step("a"), step("b", inputs=["a"])))

    dag = await workspace.ended("bad")

    assert status(dag).phase is RunPhase.ERROR
    message = status(dag).message or ""
    assert [complaint for complaint in complaints if complaint not in message] == [], message
    said = await workspace.event("NodeError" if status(dag).start_time else "InvalidDAG", about="bad")
    assert said.removeprefix("N") == message.removeprefix("n")  # a sentence of its own, or the end of another
    await workspace.succeeded("good")


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"größe": "a b/c:d"}, id="no text that Kubernetes would take"),
        pytest.param(
            {"bacalhau.org/node": "mine", "bacalhau.org/attempt": "many"}, id="the operator's own names"
        ),
    ],
)
async def test_odd_labels_do_no_harm(workspace: Workspace, labels: dict[str, str]) -> None:
    workspace.apply(labelled(**labels))
    await workspace.succeeded("bad")


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        pytest.param(
            {
                "apiVersion": "bacalhau.org/v1alpha1",
                "kind": "BacalhauConnection",
                "metadata": {"name": "bad"},
                "spec": {"endpoint": "http://127.0.0.1:1", "jobDefaults": {"queueTimeout": "5 parsecs"}},
            },
            r'spec\.jobDefaults\.queueTimeout: Invalid value: "5 parsecs"',
            id="a wrong duration",
        ),
        pytest.param(
            manifest("bad", step("only", dependencies=["only"])),
            r'node "only" cannot depend on itself',
            id="a node that depends on itself",
        ),
        pytest.param(
            manifest("bad", step("only", job={"Type": "batch"})),
            r'node "only" needs exactly one of job, template and suspend',
            id="a node with a job and a template",
        ),
        pytest.param(
            manifest("bad", step("only"), failurePolicy="Hope"),
            r'spec\.failurePolicy: Unsupported value: "Hope"',
            id="an unknown failure policy",
        ),
        pytest.param(
            manifest("bad", step("only", dependson=["other"])),
            'unknown field "dependson"',
            id="a misspelled field",
        ),
        pytest.param(labelled(weight=["heavy"]), r"Labels\.weight", id="a label that is no text"),
    ],
)
async def test_what_the_api_server_refuses_never_reaches_the_operator(
    workspace: Workspace, bad: Manifest, complaint: str
) -> None:
    with pytest.raises(KubectlError, match=complaint):
        workspace.apply(bad)


async def test_a_corrected_dag_runs(workspace: Workspace) -> None:
    workspace.apply(manifest("corrected", step("a"), step("b", inputs=["A"])))
    await workspace.hindered("corrected", "InvalidDAG")

    workspace.apply(manifest("corrected", step("a"), step("b", inputs=["a"])))

    await workspace.until("corrected", lambda dag: status(dag).phase is RunPhase.SUCCEEDED)

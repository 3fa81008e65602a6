"""The CRDs on a real API server: what it accepts, keeps and refuses, and what users read when it does."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.api.crds import KINDS, Kind, custom_resource_definition
from controller.api.schema import Schema
from controller.api.types import MAX_NODES
from dev.plane import CRDS, ControlPlane
from dev.servers.kubectl import Kubectl, KubectlError

pytestmark = pytest.mark.e2e

Object = dict[str, Any]
Change = Callable[[Object], object]

JOB: Object = {
    "Type": "batch",
    "Count": "${{ params.count }}",
    "Labels": {"team": "physics"},
    "Constraints": [{"Key": "region", "Operator": "in", "Values": ["eu", "us"]}],
    "Tasks": [
        {
            "Name": "main",
            "Engine": {
                "Type": "wasm",
                "Params": {"EntryModule": "/tool.wasm", "Parameters": ["a", 1, True, None, {"b": [1.5]}]},
            },
            "Env": {"LEVEL": 3, "MODE": "fast"},
            "ResultPaths": [{"Name": "outputs", "Path": "/outputs"}],
            "Publisher": {"Type": "ipfs"},
            "Timeouts": {"TotalTimeout": 600},
        }
    ],
}
UNKNOWN: Object = {
    "APIVersion": "v9",
    "tasks": [{"engine": {"type": "lower case, as Bacalhau also takes it"}}],
    "Invented": {"deep": [{"er": [1, "two", False, None, {"three": 3.5}]}], "empty": {}},
}


def dag(**spec: Any) -> Object:
    nodes = [
        {"name": "split", "job": copy.deepcopy(JOB)},
        {"name": "count", "template": "tool", "arguments": {"step": 1}, "dependencies": ["split"]},
    ]
    return {
        "apiVersion": "bacalhau.org/v1alpha1",
        "kind": "BacalhauDAG",
        "metadata": {"name": "run"},
        "spec": {
            "arguments": {"count": 2},
            "parameters": [{"name": "count", "type": "integer"}],
            "jobTemplates": [{"name": "tool", "job": copy.deepcopy(JOB)}],
            "nodes": nodes,
            **spec,
        },
    }


def connection(**spec: Any) -> Object:
    return {
        "apiVersion": "bacalhau.org/v1alpha1",
        "kind": "BacalhauConnection",
        "metadata": {"name": "lab"},
        "spec": {"endpoint": "http://bacalhau:1234", **spec},
    }


class Namespace:
    """What a user does in one namespace."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self._kubectl = kubectl
        self._name = name

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        return self._kubectl(*arguments, "-n", self._name, stdin=stdin)

    def create(self, manifest: Object) -> Object:
        stored: Object = json.loads(self.run("create", "-f", "-", "-o", "json", stdin=json.dumps(manifest)))
        return stored

    def refusal(self, verb: str, manifest: Object) -> str:
        """The message with which the API server refuses a manifest."""
        with pytest.raises(KubectlError) as refused:
            self.run(verb, "-f", "-", "--dry-run=server", stdin=json.dumps(manifest))
        return str(refused.value)

    def start(self, name: str) -> Object:
        """Mark a DAG as started, as the operator does."""
        status = {"status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"}}
        patch = json.dumps(status)
        started: Object = json.loads(
            self.run("patch", "bdag", name, "--subresource=status", "--type=merge", "-p", patch, "-o", "json")
        )
        return started


@pytest.fixture
def kubectl(own_plane: ControlPlane) -> Kubectl:
    """A kubectl for a plane without an operator, which would change the resources between two commands of a test."""
    return own_plane.kubectl


@pytest.fixture
def here(kubectl: Kubectl, namespace: str) -> Namespace:
    """The test's own namespace."""
    return Namespace(kubectl, namespace)


def test_the_definitions_are_established_and_structural(kubectl: Kubectl) -> None:
    for kind in KINDS:
        definition = json.loads(kubectl("get", "crd", f"{kind.plural}.bacalhau.org", "-o", "json"))
        conditions = {entry["type"]: entry["status"] for entry in definition["status"]["conditions"]}

        assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_the_definitions_can_be_applied_in_the_plain_way(kubectl: Kubectl) -> None:
    assert kubectl("apply", "--dry-run=server", "-f", CRDS).count("configured") == len(KINDS)


def test_the_api_server_keeps_everything_that_the_definitions_say(kubectl: Kubectl) -> None:
    for kind in KINDS:
        written = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]
        stored = json.loads(kubectl("get", "crd", f"{kind.plural}.bacalhau.org", "-o", "json"))

        assert stored["spec"]["versions"][0]["schema"] == written


def test_a_job_is_kept_as_it_was_written(here: Namespace) -> None:
    job = {**copy.deepcopy(JOB), **UNKNOWN}
    job["Tasks"][0]["Invented"] = UNKNOWN
    job["Tasks"][0]["Engine"]["Params"]["Invented"] = UNKNOWN

    stored = here.create(
        dag(nodes=[{"name": "inline", "job": job}], jobTemplates=[{"name": "shared", "job": job}])
    )

    assert stored["spec"]["nodes"][0]["job"] == job
    assert stored["spec"]["jobTemplates"][0]["job"] == job


def test_values_of_parameters_keep_their_types(here: Namespace) -> None:
    values = {"text": "a", "number": 1.5, "flag": False, "list": [1, "a", {}], "object": {"a": {"b": None}}}

    stored = here.create(dag(arguments=values, parameters=[{"name": "p", "default": values}]))

    assert stored["spec"]["arguments"] == values
    assert stored["spec"]["parameters"][0]["default"] == values


def test_nothing_is_added_to_the_spec(here: Namespace) -> None:
    for manifest in (dag(), connection(auth={"basicSecretRef": {"name": "user"}})):
        assert here.create(manifest)["spec"] == manifest["spec"]


def test_what_the_operator_has_not_seen_says_so(here: Namespace) -> None:
    assert here.create(dag())["status"] == {"observedGeneration": -1, "phase": "Pending"}
    assert here.create(connection())["status"] == {"observedGeneration": -1}


def test_the_largest_graph_is_accepted_and_a_larger_one_refused(here: Namespace) -> None:
    nodes: list[Object] = [{"name": "n0", "template": "tool"}]
    for number in range(1, MAX_NODES):
        before = [f"n{other}" for other in range(max(0, number - 10), number)]
        nodes.append({"name": f"n{number}", "template": "tool", "dependencies": before})
    largest = dag(nodes=nodes)

    assert len(here.create(largest)["spec"]["nodes"]) == MAX_NODES

    largest["spec"]["nodes"].append({"name": "one-more", "template": "tool"})
    assert f"spec.nodes: Too many: {MAX_NODES + 1}: must have at most {MAX_NODES} items" in here.refusal(
        "create", largest
    )


def test_the_rules_fit_a_node_that_depends_on_all_others(here: Namespace) -> None:
    names = [f"n{number}" for number in range(MAX_NODES - 1)]
    nodes: list[Object] = [{"name": name, "template": "tool"} for name in names]
    nodes.append({"name": "last", "template": "tool", "dependencies": names})

    assert len(here.create(dag(nodes=nodes))["spec"]["nodes"]) == MAX_NODES


def test_the_rules_fit_the_largest_graph_with_all_that_nodes_have(here: Namespace) -> None:
    """When it is created, and when it changes after its start, which compares every node with what it was."""
    nodes: list[Object] = [{"name": "n0", "template": "tool"}]
    nodes += [elaborate(number) for number in range(1, MAX_NODES)]
    largest = dag(nodes=nodes, suspend=True)
    here.run("create", "-f", "-", "--dry-run=server", stdin=json.dumps(largest))

    here.create(largest)
    started = here.start("run")
    started["spec"]["suspend"] = False
    nodes_of(started).reverse()
    resumed = json.loads(here.run("replace", "-f", "-", "-o", "json", stdin=json.dumps(started)))
    assert len(resumed["spec"]["nodes"]) == MAX_NODES

    nodes_of(resumed)[0]["retry"]["limit"] = 9
    assert "spec.nodes: Forbidden: spec.nodes cannot change" in here.refusal("replace", resumed)


def elaborate(number: int) -> Object:
    """A node with every field that graphs are made of."""
    before = f"n{number - 1}"
    order: Object = {"depends": f"{before}.Succeeded || {before}.Failed || !n0.Omitted"}
    return {
        "name": f"n{number}",
        "template": "tool",
        "arguments": {"step": number, "code": f"${{{{ string(nodes.{before}.exitCode) }}}}"},
        "inputs": [{"from": before, "target": f"/inputs/{before}", "optional": True}],
        "when": f"nodes.{before}.exitCode != {number}",
        "retry": {"limit": 3, "condition": "last.exitCode == 3", "backoff": {"duration": "5s", "factor": 2}},
        "timeout": "10m",
        "continueOnFailure": True,
        **(order if number % 2 else {"dependencies": [before]}),
    }


def nodes_of(manifest: Object) -> Any:
    return manifest["spec"]["nodes"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda it: nodes_of(it)[0].update(name="no spaces"),
            r'spec\.nodes\[0\]\.name: Invalid value: "no spaces"',
            id="a name with a space",
        ),
        pytest.param(
            lambda it: nodes_of(it)[0].update(name="n" * 64),
            r"spec\.nodes\[0\]\.name: Too long: may not be more than 63 bytes",
            id="a name too long",
        ),
        pytest.param(
            lambda it: nodes_of(it)[1].update(name="split"),
            r'spec\.nodes\[1\]: Duplicate value: \{"name":"split"\}',
            id="two nodes of one name",
        ),
        pytest.param(
            lambda it: it["spec"]["jobTemplates"].append(it["spec"]["jobTemplates"][0]),
            r'spec\.jobTemplates\[1\]: Duplicate value: \{"name":"tool"\}',
            id="two templates of one name",
        ),
        pytest.param(
            lambda it: nodes_of(it)[0].update(template="tool"),
            r'spec\.nodes\[0\]: Invalid value: node "split" needs exactly one of job, template and suspend',
            id="both job and template",
        ),
        pytest.param(
            lambda it: nodes_of(it)[1].pop("template"),
            r'spec\.nodes\[1\]: Invalid value: node "count" needs exactly one of job, template and suspend',
            id="neither job nor template",
        ),
        pytest.param(
            lambda it: nodes_of(it)[1].update(dependencies=["split", "count"]),
            r'spec\.nodes\[1\]\.dependencies: Invalid value: node "count" cannot depend on itself',
            id="a node that depends on itself",
        ),
        pytest.param(
            lambda it: nodes_of(it).clear(),
            r"spec\.nodes: Invalid value: 0: spec\.nodes in body should have at least 1 items",
            id="no nodes",
        ),
        pytest.param(
            lambda it: nodes_of(it)[0].update(timeot="10m"),
            r'unknown field "spec\.nodes\[0\]\.timeot"',
            id="a typing error",
        ),
        pytest.param(
            lambda it: nodes_of(it)[0].update(inputs=[{"from": "count", "target": "data"}]),
            r'spec\.nodes\[0\]\.inputs\[0\]\.target: Invalid value: "data"',
            id="a relative path",
        ),
        pytest.param(
            lambda it: it["spec"].update(parallelism=0),
            r"spec\.parallelism: Invalid value: 0: .* greater than or equal to 1",
            id="no parallelism",
        ),
        pytest.param(
            lambda it: it["spec"].update(failurePolicy="Never"),
            r'spec\.failurePolicy: Unsupported value: "Never": supported values: "FailFast", ',
            id="an unknown policy",
        ),
        pytest.param(
            lambda it: it["spec"]["parameters"][0].update(type="text"),
            r'spec\.parameters\[0\]\.type: Unsupported value: "text"',
            id="an unknown type",
        ),
        pytest.param(
            lambda it: it["spec"]["parameters"].append({"name": "p", "valueFrom": {}}),
            r"spec\.parameters\[\d\]\.valueFrom: Invalid value: valueFrom needs exactly one of configMapKeyRef and secretKeyRef",
            id="a value from nowhere",
        ),
        pytest.param(
            lambda it: it["spec"]["parameters"].append(
                {"name": "p", "type": "integer", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
            ),
            r'spec\.parameters\[\d\]: Invalid value: parameter "p" comes from a Secret, so it is of type string',
            id="a number from a Secret",
        ),
        pytest.param(
            lambda it: it["spec"]["jobTemplates"][0].update(
                parameters=[{"name": "p", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]
            ),
            r'unknown field "spec\.jobTemplates\[0\]\.parameters\[0\]\.valueFrom"',
            id="a template's value from a ConfigMap",
        ),
        pytest.param(
            lambda it: it["spec"].update(connectionRef={"name": "The Lab"}),
            r'spec\.connectionRef\.name: Invalid value: "The Lab"',
            id="a connection that cannot exist",
        ),
        pytest.param(
            lambda it: it["metadata"].update(labels={"not a label": "!"}),
            r'metadata\.labels: Invalid value: "not a label"',
            id="garbage as a label",
        ),
        pytest.param(
            lambda it: nodes_of(it)[0]["job"].update(Labels=["gpu"]),
            r'spec\.nodes\[0\]\.job\.Labels: Invalid value: "array": .* must be of type object',
            id="garbage as a job's labels",
        ),
        pytest.param(
            lambda it: nodes_of(it)[0]["job"]["Labels"].update(team="x" * 257),
            r"spec\.nodes\[0\]\.job\.Labels\.team: Too long: may not be more than 256 bytes",
            id="a job's label too long",
        ),
        pytest.param(
            lambda it: nodes_of(it)[0]["job"]["Tasks"].append({"Name": "second"}),
            r"spec\.nodes\[0\]\.job\.Tasks: Too many: 2: must have at most 1 item",
            id="two tasks",
        ),
        pytest.param(
            lambda it: it["spec"].update(reuseFrom={"name": "run"}),
            r"spec\.reuseFrom\.name: Invalid value: .*spec\.reuseFrom names the DAG itself",
            id="results of its own",
        ),
    ],
)
def test_refuses_a_dag_and_names_field_and_value(here: Namespace, change: Change, message: str) -> None:
    manifest = dag()
    change(manifest)

    assert re.search(message, here.refusal("create", manifest))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            {"jobDefaults": {"queueTimeout": "10 minutes"}},
            r'spec\.jobDefaults\.queueTimeout: Invalid value: "10 minutes"',
            id="a duration with a word",
        ),
        pytest.param(
            {"jobDefaults": {"executionTimeout": "-5m"}},
            r'spec\.jobDefaults\.executionTimeout: Invalid value: "-5m"',
            id="a negative duration",
        ),
        pytest.param(
            {"jobDefaults": {"executionTimeout": 300}},
            r'spec\.jobDefaults\.executionTimeout: Invalid value: "integer": .* must be of type string',
            id="a duration without unit",
        ),
        pytest.param(
            {"endpoint": "ftp://bacalhau"},
            r'spec\.endpoint: Invalid value: "ftp://bacalhau"',
            id="another protocol",
        ),
        pytest.param(
            {"endpoint": "https://me:secret@bacalhau"},
            r'spec\.endpoint: Invalid value: "https://me:secret@bacalhau"',
            id="a password in the address",
        ),
        pytest.param(
            {"auth": {}},
            r"spec\.auth: Invalid value: auth needs exactly one of tokenSecretRef and basicSecretRef",
            id="no credentials",
        ),
        pytest.param(
            {"auth": {"basicSecretRef": {"name": "user"}, "tokenSecretRef": {"name": "key", "key": "token"}}},
            r"spec\.auth: Invalid value: auth needs exactly one of tokenSecretRef and basicSecretRef",
            id="two kinds of credentials",
        ),
        pytest.param(
            {"limits": {"requestsPerSecond": 0}},
            r"spec\.limits\.requestsPerSecond: Invalid value: 0",
            id="no requests",
        ),
    ],
)
def test_refuses_a_connection_and_names_field_and_value(here: Namespace, spec: Object, message: str) -> None:
    assert re.search(message, here.refusal("create", connection(**spec)))


GRAPH_CHANGES: dict[str, Change] = {
    "nodes": lambda it: nodes_of(it).append({"name": "late", "template": "tool"}),
    "nodes: an unknown field of a job": lambda it: nodes_of(it)[0]["job"].update(Invented=1),
    "nodes: deep inside a job": lambda it: nodes_of(it)[0]["job"]["Tasks"][0]["Engine"]["Params"][
        "Parameters"
    ].pop(),
    "nodes: an argument": lambda it: nodes_of(it)[1]["arguments"].update(step=2),
    "jobTemplates": lambda it: it["spec"]["jobTemplates"][0]["job"].update(Priority=1),
    "jobTemplates: removed": lambda it: it["spec"].pop("jobTemplates"),
    "parameters": lambda it: it["spec"]["parameters"].append({"name": "late"}),
    "arguments": lambda it: it["spec"]["arguments"].update(count=3),
    "outputs": lambda it: it["spec"].update(outputs=[{"name": "total", "from": "count"}]),
    "failurePolicy": lambda it: it["spec"].update(failurePolicy="RunAll"),
    "connectionRef": lambda it: it["spec"].update(connectionRef={"name": "other"}),
    "reuseFrom": lambda it: it["spec"].update(reuseFrom={"name": "earlier"}),
}


@pytest.mark.parametrize("changed", GRAPH_CHANGES)
def test_the_graph_of_a_started_dag_cannot_change(here: Namespace, changed: str) -> None:
    waiting = here.create(dag())
    GRAPH_CHANGES[changed](waiting)
    here.run("replace", "-f", "-", "--dry-run=server", stdin=json.dumps(waiting))
    started = here.start("run")
    GRAPH_CHANGES[changed](started)

    field = changed.partition(":")[0]
    assert (
        f"spec.{field}: Forbidden: spec.{field} cannot change: the DAG has started. "
        "Only approvals, description, parallelism, retry, shutdown and suspend may."
        in here.refusal("replace", started)
    )


def test_how_a_started_dag_runs_can_change(here: Namespace) -> None:
    here.create(dag())
    started = here.start("run")
    started["spec"] |= {
        "suspend": True,
        "parallelism": 3,
        "description": "Slower.",
    }
    nodes_of(started).reverse()

    here.run("replace", "-f", "-", stdin=json.dumps(started))


def test_other_nodes_to_run_again_need_another_id(here: Namespace) -> None:
    written = here.create(dag(retry={"id": "monday", "nodes": ["split"]}))
    written["spec"]["retry"]["nodes"] = ["count"]
    assert (
        "spec.retry.id: Invalid value: spec.retry.nodes changed but spec.retry.id did not: set another id"
        in here.refusal("replace", written)
    )
    written["spec"]["retry"]["id"] = "tuesday"
    here.run("replace", "-f", "-", stdin=json.dumps(written))


def test_kubectl_get_shows_what_matters(here: Namespace) -> None:
    here.create(dag())
    here.create(connection())

    assert headers(here.run("get", "bdag")) == ["NAME", "PHASE", "PROGRESS", "AGE"]
    assert headers(here.run("get", "bdag", "-o", "wide")) == ["NAME", "PHASE", "PROGRESS", "AGE", "MESSAGE"]
    assert headers(here.run("get", "bconn")) == ["NAME", "ENDPOINT", "READY", "AGE"]
    assert headers(here.run("get", "bconn", "-o", "wide")) == ["NAME", "ENDPOINT", "READY", "AGE", "MESSAGE"]


def headers(table: str) -> list[str]:
    return table.splitlines()[0].split()


def test_one_category_lists_everything(here: Namespace) -> None:
    here.create(dag())
    here.create(connection())

    assert set(here.run("get", "bacalhau", "-o", "name").split()) == {
        "bacalhaudag.bacalhau.org/run",
        "bacalhauconnection.bacalhau.org/lab",
    }


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_kubectl_explains_every_field(kubectl: Kubectl, kind: Kind) -> None:
    schema = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    for path, fields in objects(schema, kind.short_name):
        explained = explanations(kubectl("explain", path))
        missing = [name for name, field in fields.items() if not explains(explained.get(name, ""), field)]
        assert missing == [], f"kubectl explain {path}"


def objects(schema: Schema, path: str) -> Iterator[tuple[str, dict[str, Schema]]]:
    """Every path that has fields, with its fields; lists and maps are transparent, as for kubectl."""
    while below := schema.get("items") or schema.get("additionalProperties"):
        schema = below
    if fields := schema.get("properties"):
        yield path, fields
        for name, field in fields.items():
            yield from objects(field, f"{path}.{name}")


def explanations(text: str) -> dict[str, str]:
    """What `kubectl explain` prints about each field of an object."""
    parts = re.split(r"^  (\S+)\t<", text.partition("FIELDS:\n")[2], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def explains(explanation: str, field: Schema) -> bool:
    """Whether the field's description was printed; Kubernetes has its own for what all objects have."""
    said = words(explanation.partition(">")[2])
    if "description" not in field:
        return said not in ("", "<no description>")
    return words(field["description"]) in said


def words(text: str) -> str:
    return " ".join(text.split())

"""The chart's objects for the values that a site may choose."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from controller.settings import Settings
from tests.support.chart import CHART, HelmError, Manifest, helm, render

pytestmark = pytest.mark.e2e

EVERYTHING: Mapping[str, Any] = {
    "image": {"repository": "registry.example.com/operator", "tag": "1.2.3"},
    "imagePullSecrets": [{"name": "pull"}],
    "watchNamespaces": ["blue", "green"],
    "settings": {"workers": 4, "logLevel": "DEBUG", "logFormat": "json", "deletionGraceSeconds": 1.5},
    "serviceAccount": {"create": True, "name": "dag-operator", "annotations": {"owner": "me"}},
    "metrics": {"service": {"enabled": True, "port": 9090, "labels": {"scrape": "yes"}}},
    "podLabels": {"team": "data"},
    "podAnnotations": {"note": "1"},
    "priorityClassName": "high",
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pod(manifests: list[Manifest]) -> dict[str, Any]:
    (deployment,) = of_kind(manifests, "Deployment")
    return dict(deployment["spec"]["template"]["spec"])


def container(manifests: list[Manifest]) -> dict[str, Any]:
    (operator,) = pod(manifests)["containers"]
    return dict(operator)


def settings(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings as the operator would read them in its container."""
    for variable in container(manifests)["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    return Settings()


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_the_linter_has_nothing_to_say(values: Mapping[str, Any]) -> None:
    shown = helm("lint", "--strict", str(CHART), "--values=-", stdin=yaml.safe_dump(dict(values)))
    assert not re.search(r"\[(WARNING|ERROR)\]", shown), shown


@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["defaults", "everything"])
def test_a_pod_is_as_restricted_as_pods_can_be(values: Mapping[str, Any]) -> None:
    manifests = render(values, namespace="ops")
    assert pod(manifests)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(manifests)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_user_is_that_of_the_image() -> None:
    (user,) = re.findall(r"^USER (\d+:\d+)$", (CHART.parent.parent / "Dockerfile").read_text(), re.MULTILINE)
    context = pod(render(namespace="ops"))["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_the_operator_runs_with_its_own_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    manifests = render(namespace="ops")
    read = settings(manifests, monkeypatch)
    assert read == Settings(identity=read.identity, lease_name="bacalhau-dag-operator")
    (port,) = container(manifests)["ports"]
    assert port == {"name": "http", "containerPort": read.http_port}


def test_the_operator_gets_the_settings_that_were_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    read = settings(render(EVERYTHING, namespace="ops", release="blue"), monkeypatch)
    assert read.namespaces == ("blue", "green")
    assert (read.workers, read.log_level, read.log_format) == (4, "DEBUG", "json")
    assert read.deletion_grace_seconds == 1.5
    assert read.lease_name == "blue-bacalhau-dag-operator"


def test_without_namespaces_there_is_a_cluster_role_and_no_other_but_for_the_lease() -> None:
    manifests = render({"rbac": {"aggregateToUserRoles": False}}, namespace="ops")
    assert [role["metadata"]["name"] for role in of_kind(manifests, "ClusterRole")] == [
        "bacalhau-dag-operator"
    ]
    (lease,) = of_kind(manifests, "Role")
    assert (lease["metadata"]["namespace"], lease["rules"][1]["resourceNames"]) == (
        "ops",
        ["bacalhau-dag-operator"],
    )


def test_with_namespaces_there_is_no_cluster_role() -> None:
    manifests = render({**EVERYTHING, "rbac": {"aggregateToUserRoles": False}}, namespace="ops")
    assert of_kind(manifests, "ClusterRole") == of_kind(manifests, "ClusterRoleBinding") == []
    assert [role["metadata"]["namespace"] for role in of_kind(manifests, "Role")] == ["blue", "green", "ops"]
    subjects = [binding["subjects"] for binding in of_kind(manifests, "RoleBinding")]
    assert subjects == [[{"kind": "ServiceAccount", "name": "dag-operator", "namespace": "ops"}]] * 3


def test_the_resource_definitions_stay_when_the_release_goes() -> None:
    crds = of_kind(render(namespace="ops"), "CustomResourceDefinition")
    shipped = [yaml.safe_load(file.read_text()) for file in sorted((CHART / "files" / "crds").glob("*.yaml"))]
    assert [crd["spec"] for crd in crds] == [crd["spec"] for crd in shipped]
    assert all(crd["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"} for crd in crds)
    assert of_kind(render({"crds": {"install": False}}, namespace="ops"), "CustomResourceDefinition") == []


def test_a_service_is_there_only_for_who_wants_one() -> None:
    assert of_kind(render(namespace="ops"), "Service") == []
    (service,) = of_kind(render(EVERYTHING, namespace="ops"), "Service")
    assert service["spec"]["ports"] == [{"name": "http-metrics", "port": 9090, "targetPort": "http"}]
    (deployment,) = of_kind(render(EVERYTHING, namespace="ops"), "Deployment")
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        pytest.param({"replicas": 3}, "replicas", id="unknown value"),
        pytest.param({"settings": {"logLevel": "LOUD"}}, "logLevel", id="unknown log level"),
        pytest.param({"settings": {"worker": 3}}, "worker", id="unknown setting"),
        pytest.param({"watchNamespaces": ["Not_A_Name"]}, "watchNamespaces", id="no namespace's name"),
    ],
)
def test_a_value_with_a_typing_error_is_refused(values: Mapping[str, Any], complaint: str) -> None:
    with pytest.raises(HelmError, match=complaint):
        render(values, namespace="ops")

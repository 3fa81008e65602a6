"""The chart on a real API server: it accepts every object, and the operator may do what it must and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from dev.plane import ControlPlane
from dev.servers.kubectl import Kubectl, KubectlError
from dev.servers.process import wait_until
from tests.support.chart import grant_rights, render

pytestmark = pytest.mark.e2e

Right = tuple[str, str]

MAY: list[Right] = [
    ("list", "bacalhaudags.bacalhau.org"),
    ("watch", "bacalhaudags.bacalhau.org"),
    ("patch", "bacalhaudags.bacalhau.org"),
    ("patch", "bacalhaudags.bacalhau.org/status"),
    ("watch", "bacalhauconnections.bacalhau.org"),
    ("patch", "bacalhauconnections.bacalhau.org/status"),
    ("get", "secrets"),
    ("get", "configmaps"),
    ("create", "events"),
    ("patch", "events"),
]

MAY_NOT: list[Right] = [
    ("delete", "bacalhaudags.bacalhau.org"),
    ("create", "bacalhaudags.bacalhau.org"),
    ("patch", "bacalhauconnections.bacalhau.org"),
    ("list", "secrets"),
    ("watch", "secrets"),
    ("patch", "secrets"),
    ("list", "configmaps"),
    ("watch", "configmaps"),
    ("patch", "configmaps"),
    ("list", "pods"),
    ("create", "pods"),
    ("list", "customresourcedefinitions.apiextensions.k8s.io"),
]


@pytest.fixture
def release(namespace: str) -> str:
    """The name of a release of the test's own, so that no other operator of the plane loses its rights."""
    return f"release-{namespace.rpartition('-')[2]}"


@pytest.fixture
def elsewhere(kubectl: Kubectl, namespace: str) -> Iterator[str]:
    """A namespace that the operator is not told to watch."""
    name = f"{namespace}-elsewhere"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


def operator(release: str, *, namespace: str) -> str:
    """The operator of a release, as the API server knows it."""
    return f"system:serviceaccount:{namespace}:{release}-bacalhau-dag-operator"


def allowed(kubectl: Kubectl, user: str, rights: list[Right], *, namespace: str) -> list[Right]:
    """Those of the rights that the API server says a user has in a namespace."""
    reviews = [access_review(user, *right, namespace=namespace) for right in rights]
    answers = kubectl(
        "create", "-f", "-", "-o", 'jsonpath={.status.allowed}{"\\n"}', stdin=yaml.safe_dump_all(reviews)
    )
    return [right for right, answer in zip(rights, answers.split(), strict=True) if answer == "true"]


def access_review(user: str, verb: str, resource: str, *, namespace: str) -> dict[str, Any]:
    whole, _, subresource = resource.partition("/")
    plural, _, group = whole.partition(".")
    attributes = {"namespace": namespace, "verb": verb, "group": group}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": user,
            "groups": ["system:serviceaccounts", "system:authenticated"],
            "resourceAttributes": {**attributes, "resource": plural, "subresource": subresource},
        },
    }


def test_the_api_server_accepts_every_object(kubectl: Kubectl, namespace: str) -> None:
    values = {"metrics": {"service": {"enabled": True}}, "watchNamespaces": [namespace]}
    manifests = render(values, namespace=namespace)
    dry_run = ("apply", "--server-side", "--dry-run=server", "-o", "name", "-f", "-")
    applied = kubectl(*dry_run, stdin=yaml.safe_dump_all(manifests))
    assert len(applied.split()) == len(manifests)


def test_the_operator_may_do_what_it_must_everywhere(
    plane: ControlPlane, namespace: str, release: str
) -> None:
    grant_rights(plane, namespace, release=release)
    user = operator(release, namespace=namespace)
    assert allowed(plane.kubectl, user, MAY + MAY_NOT, namespace="kube-public") == MAY


def test_the_operator_of_some_namespaces_may_do_nothing_in_others(
    plane: ControlPlane, namespace: str, elsewhere: str, release: str
) -> None:
    grant_rights(plane, elsewhere, watch_namespaces=(namespace,), release=release)
    user = operator(release, namespace=elsewhere)
    assert allowed(plane.kubectl, user, MAY + MAY_NOT, namespace=namespace) == MAY
    assert allowed(plane.kubectl, user, MAY + MAY_NOT, namespace=elsewhere) == []


def test_the_operator_writes_its_own_lease_and_no_other(
    plane: ControlPlane, namespace: str, release: str
) -> None:
    kubectl = Kubectl(grant_rights(plane, namespace, release=release), home=plane.directory)
    own, holder = f"{release}-bacalhau-dag-operator", '{"spec": {"holderIdentity": "me"}}'
    for name in (own, "somebody-elses"):
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}}
        kubectl("create", "-f", "-", stdin=json.dumps(lease))
    kubectl("patch", "lease", own, "--type=merge", "--patch", holder)
    with pytest.raises(KubectlError, match="forbidden"):
        kubectl("patch", "lease", "somebody-elses", "--type=merge", "--patch", holder)


def test_a_user_who_may_edit_runs_dags_but_does_not_say_where(
    kubectl: Kubectl, namespace: str, release: str
) -> None:
    roles = [
        found for found in render(namespace=namespace, release=release) if found["kind"] == "ClusterRole"
    ]
    kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(roles))
    kubectl("create", "rolebinding", "editor", "--clusterrole=edit", "--user=ada", "-n", namespace)
    granted = [(verb, "bacalhaudags.bacalhau.org") for verb in ("create", "patch", "delete", "get")]
    granted.append(("get", "bacalhauconnections.bacalhau.org"))
    withheld = [(verb, "bacalhauconnections.bacalhau.org") for verb in ("create", "patch", "delete")]
    wait_until(
        lambda: allowed(kubectl, "ada", granted, namespace=namespace) == granted,
        what="the edit role to take in the release's",
        timeout=30,
    )
    assert allowed(kubectl, "ada", withheld, namespace=namespace) == []

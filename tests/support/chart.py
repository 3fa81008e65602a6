"""The operator's chart as Helm renders it, and the rights it gives, on a plane."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from dev import toolchain
from dev.plane import ControlPlane

CHART = Path(__file__).parent.parent.parent / "charts" / "bacalhau-dag-operator"

RELEASE = "bacalhau-dag-operator"
"""A release of this name gives it to every object, the service account and the Lease included."""

KUBE_VERSION = "1.36.3"

HELM_TIMEOUT = 120.0

RBAC_KINDS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")

Manifest = dict[str, Any]


class HelmError(Exception):
    """Helm refused; the message is what it printed."""


def helm(*arguments: str, stdin: str = "") -> str:
    """What Helm prints on standard output.

    Raises HelmError if it exits with another code than 0.
    """
    finished = subprocess.run(
        [str(toolchain.find("helm")), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=HELM_TIMEOUT,
        check=False,
    )
    if finished.returncode != 0:
        raise HelmError(finished.stdout + finished.stderr)
    return finished.stdout


def render(
    values: Mapping[str, Any] | None = None, *, namespace: str, release: str = RELEASE
) -> list[Manifest]:
    """The objects of a release.

    Raises HelmError if the chart refuses the values.
    """
    rendered = helm(
        "template",
        release,
        str(CHART),
        f"--namespace={namespace}",
        f"--kube-version={KUBE_VERSION}",
        "--values=-",
        stdin=json.dumps(values or {}),
    )
    return [manifest for manifest in yaml.safe_load_all(rendered) if manifest]


def rights(
    namespace: str, *, watch_namespaces: tuple[str, ...] = (), release: str = RELEASE
) -> list[Manifest]:
    """The operator's service account in a namespace, with its roles and their bindings."""
    manifests = render({"watchNamespaces": list(watch_namespaces)}, namespace=namespace, release=release)
    return [manifest for manifest in manifests if manifest["kind"] in RBAC_KINDS]


def grant_rights(
    plane: ControlPlane, namespace: str, *, watch_namespaces: tuple[str, ...] = (), release: str = RELEASE
) -> Path:
    """Applies the operator's rights in an existing namespace; gives a kubeconfig that has them and no others.

    Roles of the cluster are named by the release: two of one name would take the rights from each other.
    """
    manifests = rights(namespace, watch_namespaces=watch_namespaces, release=release)
    plane.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(manifests))
    (account,) = (manifest for manifest in manifests if manifest["kind"] == "ServiceAccount")
    return plane.kubernetes.kubeconfig_for(account["metadata"]["name"], namespace=namespace)

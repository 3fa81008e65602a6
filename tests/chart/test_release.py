"""A release's life on a real API server: installed, upgraded, uninstalled, with users' DAGs on it. No Pod runs here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.plane import ControlPlane
from tests.support.chart import CHART, RELEASE, HelmError, helm
from tests.support.dags import manifest, step

pytestmark = pytest.mark.e2e

DAGS = "bacalhaudags.bacalhau.org"


@pytest.fixture(scope="module")
def bare_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A plane on which nothing of the project is installed."""
    with ControlPlane(tmp_path_factory.mktemp("bare-plane")) as plane:
        yield plane


@pytest.fixture
def older_chart(tmp_path: Path) -> Path:
    """The chart as it would have been before DAGs had a short name."""
    chart = shutil.copytree(CHART, tmp_path / "older")
    (file,) = (chart / "files" / "crds").glob("*_bacalhaudags.yaml")
    crd = yaml.safe_load(file.read_text())
    del crd["spec"]["names"]["shortNames"]
    file.write_text(yaml.safe_dump(crd))
    return chart


def helm_on(plane: ControlPlane, command: str, *arguments: str | Path) -> str:
    options = [f"--kubeconfig={plane.kubeconfig}", "--namespace=operator"]
    return helm(command, RELEASE, *map(str, arguments), *options)


def names(plane: ControlPlane, kind: str) -> set[str]:
    """The names of this release's objects of a kind."""
    selector = f"--selector=app.kubernetes.io/instance={RELEASE}"
    listed: dict[str, Any] = json.loads(
        plane.kubectl("get", kind, "--all-namespaces", selector, "-o", "json")
    )
    return {item["metadata"]["name"] for item in listed["items"]}


def short_names(plane: ControlPlane) -> list[str]:
    crd: dict[str, Any] = json.loads(plane.kubectl("get", "crd", DAGS, "-o", "json"))
    return list(crd["spec"]["names"].get("shortNames", []))


def test_a_release_is_installed_upgraded_and_uninstalled_without_loss_of_a_dag(
    bare_plane: ControlPlane, older_chart: Path
) -> None:
    kubectl = bare_plane.kubectl
    helm_on(bare_plane, "install", older_chart, "--create-namespace")
    kubectl("wait", "--for=condition=Established", f"crd/{DAGS}")
    kubectl("create", "-f", "-", stdin=json.dumps(manifest("kept", step("greet", "stdout", "hello"))))
    assert short_names(bare_plane) == []

    helm_on(bare_plane, "upgrade", CHART)
    assert short_names(bare_plane) == ["bdag"]
    assert names(bare_plane, "deployment") == {RELEASE}

    helm_on(bare_plane, "uninstall")
    assert all(
        not names(bare_plane, kind) for kind in ("deployment", "serviceaccount", "clusterrole", "role")
    )
    assert kubectl("get", DAGS, "-o", "name") == f"bacalhaudag.{DAGS.partition('.')[2]}/kept\n"

    shown = helm_on(bare_plane, "install", CHART)
    assert "kubectl rollout status deployment/bacalhau-dag-operator --namespace operator" in shown


def test_definitions_that_somebody_else_installed_are_not_taken_over(own_plane: ControlPlane) -> None:
    with pytest.raises(HelmError, match="cannot be imported into the current release"):
        helm_on(own_plane, "install", CHART, "--create-namespace")
    helm_on(own_plane, "install", CHART, "--create-namespace", "--set=crds.install=false")

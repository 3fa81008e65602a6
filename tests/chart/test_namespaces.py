"""The operator of some namespaces: it runs with Roles in those alone, and leaves the others to others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.plane import ControlPlane
from dev.servers.controller import Controller
from tests.support.chart import RELEASE, grant_rights
from tests.support.dags import manifest, step
from tests.support.workspace import Workspace, status

pytestmark = pytest.mark.e2e

OWN, SERVED, ELSEWHERE = "operator", "served", "elsewhere"

SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "bacalhau"},
    "stringData": {"token": "a-token-that-this-bacalhau-does-not-ask-for"},
}


@pytest.fixture
def namespaced_controller(own_plane: ControlPlane, tmp_path: Path) -> Iterator[Controller]:
    """An operator of one namespace, with no rights in the cluster as a whole."""
    for name in (OWN, SERVED, ELSEWHERE):
        own_plane.kubectl("create", "namespace", name)
    kubeconfig = grant_rights(own_plane, OWN, watch_namespaces=(SERVED,))
    settings = {"BACALHAU_DAG_NAMESPACES": SERVED, "BACALHAU_DAG_LEASE_NAME": RELEASE}
    controller = Controller(tmp_path, kubeconfig=kubeconfig, settings=settings)
    controller.start()
    yield controller
    controller.stop()


async def test_dags_run_where_the_operator_was_told_to_watch_and_nowhere_else(
    own_plane: ControlPlane, namespaced_controller: Controller
) -> None:
    elsewhere, served = Workspace(own_plane, ELSEWHERE), Workspace(own_plane, SERVED)
    for workspace in (elsewhere, served):
        workspace.apply(SECRET)
        workspace.connect(auth={"tokenSecretRef": {"name": "bacalhau", "key": "token"}})
        workspace.apply(manifest("greeting", step("greet", "stdout", "hello")))

    await served.succeeded("greeting")

    assert await served.event("Succeeded", about="greeting")
    untouched = await elsewhere.until("greeting", lambda _: True)
    assert status(untouched).observed_generation == -1
    assert "forbidden" not in namespaced_controller.log.read_text().lower()

"""The operator as a process, with the rights that its chart gives it and no more.

One serves all tests of the shared plane. Tests that kill it, or the servers around it, start their own on a plane of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.plane import ControlPlane
from dev.servers.controller import Controller
from tests.support.chart import grant_rights
from tests.support.workspace import Workspace

OPERATOR_NAMESPACE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": "bacalhau-dag-operator"},
}
TRACEBACK = "Traceback (most recent call last)"


@contextmanager
def running_controller(plane: ControlPlane, directory: Path, **settings: str) -> Iterator[Controller]:
    """An operator for a plane, until the context ends; then its log must be free of exceptions.

    `settings` are those of `controller.settings` by name.
    """
    plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(OPERATOR_NAMESPACE))
    environment = {f"BACALHAU_DAG_{name.upper()}": value for name, value in settings.items()}
    kubeconfig = grant_rights(plane, OPERATOR_NAMESPACE["metadata"]["name"])
    controller = Controller(directory, kubeconfig=kubeconfig, settings=environment)
    controller.start()
    try:
        yield controller
    finally:
        controller.stop()
    assert TRACEBACK not in controller.log.read_text(), controller.log


@pytest.fixture(scope="session")
def controller(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """The operator of the shared plane."""
    with running_controller(plane, tmp_path_factory.mktemp("controller")) as controller:
        yield controller


@pytest.fixture
def workspace(controller: Controller, plane: ControlPlane, namespace: str) -> Workspace:
    """A namespace of the test's own on the shared plane, with a connection and the operator running."""
    assert controller.running, controller.log_tail()
    workspace = Workspace(plane, namespace)
    workspace.connect()
    return workspace

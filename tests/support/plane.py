"""The local control plane as fixtures: one for the whole test session, a namespace for each test.

Tests that damage servers (kill, stop, fill) take `own_plane`, which their module alone uses; everything else shares one,
because a plane takes five seconds to start.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from dev import toolchain
from dev.plane import ControlPlane
from dev.servers.kubectl import Kubectl

_numbers = itertools.count(1)


def build_tools(items: list[pytest.Item], config: pytest.Config) -> None:
    """Builds the servers that the selected tests need, outside of their timeouts, where progress can be seen."""
    if not any(item.get_closest_marker(tier) for item in items for tier in ("e2e", "docker")):
        return
    capture = config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            toolchain.find_all(toolchain.TOOLS)
    except toolchain.ToolchainError as error:
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running control plane with the project's CRDs. Its logs stay in pytest's temporary folder."""
    with ControlPlane(tmp_path_factory.mktemp("plane")) as plane:
        plane.install_crds()
        yield plane


@pytest.fixture(scope="module")
def own_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A plane for the tests of one module, which may stop and kill its servers if they start them again."""
    with ControlPlane(tmp_path_factory.mktemp("own-plane")) as plane:
        plane.install_crds()
        yield plane


@pytest.fixture
def kubectl(plane: ControlPlane) -> Kubectl:
    """Runs kubectl as the administrator: `kubectl("get", "bdag", "-n", namespace)` returns what it prints."""
    return plane.kubectl


@pytest.fixture
def namespace(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[str]:
    """A Kubernetes namespace of the test's own, named after it; its deletion is not waited for."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_")).strip("-")
    name = f"{words[:40].strip('-')}-{next(_numbers)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")

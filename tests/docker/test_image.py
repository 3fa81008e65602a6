"""The operator's image: it is what a cluster runs, with the restrictions under which its chart runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller import __version__
from dev.containers import ContainerEngine
from dev.servers.process import ServerError

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

ROOT = Path(__file__).parent.parent.parent

RESTRICTED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none")


@pytest.fixture(scope="module")
def image(engine: ContainerEngine) -> str:
    """The operator's image."""
    return engine.build(ROOT, name="bacalhau-dag-operator")


def run(engine: ContainerEngine, *arguments: str) -> str:
    return engine.docker("run", "--rm", *RESTRICTED, *arguments, timeout=60)


def test_the_operator_starts_as_a_numeric_user(engine: ContainerEngine, image: str) -> None:
    assert run(engine, image, "--version") == f"{__version__}\n"
    assert run(engine, "--entrypoint=python", image, "-c", "import os; print(os.getuid())") == "65532\n"


def test_every_module_of_the_operator_can_be_imported(engine: ContainerEngine, image: str) -> None:
    import_all = (
        "import controller, importlib, pkgutil;"
        "names = [m.name for m in pkgutil.walk_packages(controller.__path__, 'controller.')];"
        "print(len([importlib.import_module(name) for name in names if not name.endswith('__main__')]) > 20)"
    )
    assert run(engine, "--entrypoint=python", image, "-W", "error", "-c", import_all) == "True\n"


def test_without_a_cluster_it_says_what_is_missing(engine: ContainerEngine, image: str) -> None:
    with pytest.raises(ServerError, match="The Kubernetes API cannot be used"):
        run(engine, image)


def test_the_image_holds_the_operator_and_nothing_else_of_the_project(
    engine: ContainerEngine, image: str
) -> None:
    assert run(engine, "--entrypoint=ls", image, "/opt/operator/src") == "controller\n"

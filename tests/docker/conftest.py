"""A container engine of the tests' own, and a Bacalhau that runs Docker jobs on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dev import containers
from dev.containers import ContainerEngine, DockerBacalhau
from dev.plane import ControlPlane

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerEngine]:
    """A container engine with a base image and a registry; without one the test is skipped."""
    reason = containers.why_impossible()
    if reason is not None:
        pytest.skip(f"no container engine: {reason}")
    with ContainerEngine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture(scope="session")
def ml_image(engine: ContainerEngine) -> str:
    """The image of the machine-learning example, in the engine's registry."""
    return engine.build(ROOT / "examples" / "ml-pipeline", name="ml-pipeline")


@pytest.fixture(scope="session")
def docker_bacalhau(
    plane: ControlPlane, engine: ContainerEngine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DockerBacalhau]:
    """A Bacalhau node beside the plane's, which shares its IPFS and runs Docker jobs."""
    node = DockerBacalhau(tmp_path_factory.mktemp("bacalhau"), engine=engine, kubo=plane.ipfs, s3=plane.s3)
    node.start()
    yield node
    node.kill()

"""Every manifest below `examples/` that needs no container engine does what the comment at its head says.

All of them run at once, started by the very commands that a reader is told to type.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import yaml

from dev import toolchain
from dev.plane import ControlPlane
from dev.servers.controller import Controller
from tests.support.examples import FOLDER, Example, all_examples, surprises
from tests.support.workspace import Workspace

pytestmark = pytest.mark.e2e

WITH_TESTS_OF_THEIR_OWN = {"wordcount/dag"}
"""What takes more than commands (a program to compile, content to add to IPFS), and is run by `test_examples`."""

EXAMPLES = [
    example
    for example in all_examples()
    if not example.needs_containers and example.title not in WITH_TESTS_OF_THEIR_OWN
]
"""In the order of their names, so that `reuse-from` comes long after the `diamond` that it takes results from."""

NAMESPACE = "examples"
PATIENCE = 240.0
"""Seconds that all of them may take together, with their commands."""


@pytest.fixture(scope="module")
def workspace(plane: ControlPlane, controller: Controller) -> Workspace:
    """The namespace that all examples run in."""
    assert controller.running, controller.log_tail()
    plane.kubectl("create", "namespace", NAMESPACE)
    workspace = Workspace(plane, NAMESPACE)
    workspace.connect()
    return workspace


@pytest.fixture(scope="module")
def environment(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a reader's shell has: kubectl, and a kubeconfig with the right namespace."""
    config = yaml.safe_load(workspace.plane.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = workspace.namespace
    home = tmp_path_factory.mktemp("home")
    (home / "kubeconfig").write_text(yaml.safe_dump(config))
    path = f"{toolchain.find('kubectl').parent}:{os.defpath}"
    return {"HOME": str(home), "KUBECONFIG": str(home / "kubeconfig"), "PATH": path}


@pytest.fixture(scope="module")
def typed(environment: dict[str, str]) -> Iterator[dict[Example, Future[None]]]:
    """The commands of each example, on their way."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        yield {example: pool.submit(type_commands, example, environment) for example in EXAMPLES}


def type_commands(example: Example, environment: dict[str, str]) -> None:
    """Do what an example tells its reader to do."""
    command = ["sh", "-euc", example.commands]
    finished = subprocess.run(
        command,
        cwd=example.file.parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
async def test_an_example_ends_as_it_says(
    example: Example, workspace: Workspace, typed: dict[Example, Future[None]]
) -> None:
    await asyncio.wrap_future(typed[example])
    assert surprises(example, await workspace.ended(example.name, within=PATIENCE)) == []


def test_the_api_server_accepts_every_example(workspace: Workspace) -> None:
    accepted = workspace.kubectl("apply", "--dry-run=server", "-o", "name", "-R", "-f", FOLDER).split()
    assert sum("bacalhaudag" in name for name in accepted) == len(all_examples())

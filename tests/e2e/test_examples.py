"""The examples that need no container engine, as a user runs them: on real servers, by the real operator."""

from __future__ import annotations

import asyncio
import base64
import re
import subprocess
from collections import Counter
from contextlib import aclosing
from pathlib import Path

import pytest
import yaml

from controller.api.dag import BacalhauDAG, RunPhase
from dev import wordcount
from dev.plane import ControlPlane
from dev.servers.kubectl import Kubectl
from dev.sightings import sightings
from dev.watch import has_ended, run_phase, run_status
from tests.support.wasm import assemble

pytestmark = pytest.mark.e2e

HELLO = Path(__file__).parent.parent.parent / "examples" / "hello"

RUN_TIMEOUT = 180
"""Seconds that a run may take; the compilation of WebAssembly by the node takes most of those it needs."""


@pytest.fixture
def connection(plane: ControlPlane, namespace: str) -> None:
    """The BacalhauConnection that DAGs use if they name none."""
    plane.create_connection(namespace=namespace)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the word count, compiled."""
    return wordcount.build(tmp_path_factory.mktemp("wordcount"))


async def ended(plane: ControlPlane, namespace: str, name: str) -> BacalhauDAG:
    """The run as it ended."""
    async with (
        asyncio.timeout(RUN_TIMEOUT),
        aclosing(sightings(plane.kubeconfig, namespace=namespace, name=name)) as dags,
    ):
        async for dag in dags:
            if has_ended(dag):
                return dag
    raise AssertionError(f"the BacalhauDAG {name} was deleted before it ended")


def cid(dag: BacalhauDAG, output: str) -> str:
    """Where an output of a run is, which must have succeeded."""
    assert run_phase(dag) is RunPhase.SUCCEEDED, run_status(dag).message
    found = run_status(dag).outputs[output].cid
    assert found is not None
    return found


def counted_by_python(text: str) -> Counter[str]:
    """What the example counts, found in another way."""
    words = (run.strip("'") for run in re.findall(r"(?:[^\W\d_]|')+", text.lower()))
    return Counter(word for word in words if word)


@pytest.mark.usefixtures("controller", "connection")
async def test_the_words_of_the_opticks_are_counted(
    plane: ControlPlane, kubectl: Kubectl, namespace: str, module: Path
) -> None:
    manifest = wordcount.manifest(wordcount.arguments(plane.ipfs, module))
    kubectl("create", "--namespace", namespace, "-f", "-", stdin=yaml.safe_dump(manifest))
    dag = await ended(plane, namespace, "wordcount")

    expected = counted_by_python(wordcount.TEXT.read_text())
    counts = wordcount.read_counts(plane.ipfs.cat(f"{cid(dag, 'counts')}/outputs/counts.tsv"))
    report = wordcount.read_report(plane.ipfs.cat(f"{cid(dag, 'report')}/outputs/report.tsv"))
    assert counts == expected
    assert [line.rank for line in report] == list(range(1, 21))
    assert all(line.count == expected[line.word] for line in report)
    assert report[-1].count >= max(
        count
        for word, count in expected.items()
        if len(word) >= 5 and word not in {line.word for line in report}
    )


@pytest.mark.usefixtures("controller", "connection")
async def test_the_world_is_greeted(plane: ControlPlane, kubectl: Kubectl, namespace: str) -> None:
    kubectl("apply", "--namespace", namespace, "-f", HELLO / "dag.yaml")
    dag = await ended(plane, namespace, "hello")
    assert plane.ipfs.cat(f"{cid(dag, 'greeting')}/stdout") == b"Hello, world!\n"


def test_the_word_count_ships_with_the_cid_of_its_text(plane: ControlPlane) -> None:
    shipped = yaml.safe_load((wordcount.FOLDER / "dag.yaml").read_text())["spec"]["arguments"]
    assert plane.ipfs.add_path(wordcount.TEXT) == shipped["text"]


def test_the_word_count_ships_with_the_cid_of_its_program(plane: ControlPlane, module: Path) -> None:
    text = (wordcount.FOLDER / "dag.yaml").read_text()
    (documented,) = re.findall(r"built with Go (\S+)", text)
    installed = subprocess.run(
        ["go", "env", "GOVERSION"], capture_output=True, text=True, check=True, timeout=60
    )
    if installed.stdout.strip() != f"go{documented}":
        pytest.skip(f"the CID is that of Go {documented}; installed is {installed.stdout.strip()}")
    assert plane.ipfs.add_path(module) == yaml.safe_load(text)["spec"]["arguments"]["tool"]


def test_the_program_of_the_word_count_passes_its_own_tests() -> None:
    command = ["go", "test", "./..."]
    result = subprocess.run(
        command, cwd=wordcount.FOLDER, capture_output=True, text=True, check=False, timeout=240
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_program_of_hello_is_its_source_assembled() -> None:
    encoded = re.findall(r"data:application/wasm;base64,([^\"]+)", (HELLO / "dag.yaml").read_text())
    assert encoded == [base64.b64encode(assemble((HELLO / "cat.wat").read_text())).decode()]

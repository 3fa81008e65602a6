"""The examples that need no container engine, as a user runs them: on real servers, by the real operator."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from dev import wordcount
from dev.plane import ControlPlane
from tests.support.workspace import Workspace, cid

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parent.parent.parent
HELLO = ROOT / "examples" / "hello"

RUN_TIMEOUT = 180.0
"""Seconds that the word count may take: a node spends seconds of CPU on compiling its program for each of the jobs."""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of the word count, compiled."""
    return wordcount.build(tmp_path_factory.mktemp("wordcount"))


def counted_by_python(text: str) -> Counter[str]:
    """What the example counts, found in another way."""
    words = (run.strip("'") for run in re.findall(r"(?:[^\W\d_]|')+", text.lower()))
    return Counter(word for word in words if word)


async def test_the_words_of_the_opticks_are_counted(workspace: Workspace, module: Path) -> None:
    ipfs = workspace.plane.ipfs
    workspace.apply(wordcount.manifest(wordcount.arguments(ipfs, module)))

    dag = await workspace.succeeded("wordcount", within=RUN_TIMEOUT)

    expected = counted_by_python(wordcount.TEXT.read_text())
    counts = wordcount.read_counts(ipfs.cat(f"{cid(dag, 'counts')}/outputs/counts.tsv"))
    report = wordcount.read_report(ipfs.cat(f"{cid(dag, 'report')}/outputs/report.tsv"))
    assert counts == expected
    assert [line.rank for line in report] == list(range(1, 21))
    assert {line.word: line.count for line in report} == dict(most_common(expected, top=20, letters=5))


def most_common(counts: Counter[str], *, top: int, letters: int) -> list[tuple[str, int]]:
    """The most frequent of the words that are long enough; of equally frequent ones the first in the alphabet."""
    long_enough = [(word, count) for word, count in counts.items() if len(word) >= letters]
    return sorted(long_enough, key=lambda entry: (-entry[1], entry[0]))[:top]


async def test_the_world_is_greeted(workspace: Workspace) -> None:
    workspace.kubectl("apply", "-f", HELLO / "dag.yaml")

    dag = await workspace.succeeded("hello")

    assert workspace.plane.ipfs.cat(f"{cid(dag, 'greeting')}/stdout") == b"Hello, world!\n"


def test_the_demonstration_goes_from_nothing_to_the_words() -> None:
    command = [sys.executable, "-m", "dev", "demo"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    finished = [line[2] for line in lines if line[3:4] == ["Succeeded"]]
    assert finished[0] == "split"
    assert finished[-2:] == ["report", "wordcount"]
    assert ["2", "light", "823"] in [line[:3] for line in lines]


def test_the_word_count_ships_with_the_cid_of_its_text(plane: ControlPlane) -> None:
    shipped = yaml.safe_load((wordcount.FOLDER / "dag.yaml").read_text())["spec"]["arguments"]
    assert plane.ipfs.add_path(wordcount.TEXT) == shipped["text"]


def test_the_word_count_ships_with_the_cid_of_its_program(plane: ControlPlane, module: Path) -> None:
    text = (wordcount.FOLDER / "dag.yaml").read_text()
    (documented,) = re.findall(r"built with Go (\S+)", text)
    command = ["go", "env", "GOVERSION"]
    installed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    if installed != f"go{documented}":
        pytest.skip(f"the CID is that of Go {documented}; installed is {installed}")
    assert plane.ipfs.add_path(module) == yaml.safe_load(text)["spec"]["arguments"]["tool"]


def test_the_program_of_the_word_count_passes_its_own_tests() -> None:
    command = ["go", "test", "./..."]
    result = subprocess.run(
        command, cwd=wordcount.FOLDER, capture_output=True, text=True, check=False, timeout=240
    )
    assert result.returncode == 0, result.stdout + result.stderr

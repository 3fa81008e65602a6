"""The word-count example as the demonstration and the tests run it: built, put on IPFS, and its results read."""

from __future__ import annotations

import csv
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dev.servers.kubo import Kubo

FOLDER = Path(__file__).parent.parent / "examples" / "wordcount"
TEXT = FOLDER / "Opticks.txt"

BUILD_TIMEOUT = 300.0
"""Seconds that the Go compiler may take; it needs about ten the first time and one after that."""


class BuildError(Exception):
    """The program cannot be compiled; the message says why and what to do."""


@dataclass(frozen=True)
class RankedWord:
    """One line of the report."""

    rank: int
    word: str
    count: int
    percent: float


def build(directory: Path) -> Path:
    """Compiles the program into a folder; returns the path of the WebAssembly module.

    Raises BuildError if Go is missing or refuses.
    """
    module = directory / "wordcount.wasm"
    command = ["go", "build", "-trimpath", "-buildvcs=false", "-o", str(module), "."]
    environment = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm"}
    try:
        subprocess.run(
            command,
            cwd=FOLDER,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT,
        )
    except FileNotFoundError as error:
        raise BuildError("Go was not found. Install Go 1.26 or newer, and put it on PATH.") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"Go could not compile {FOLDER}: {error.stderr.strip()}") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"Go had not compiled {FOLDER} after {BUILD_TIMEOUT:.0f} s.") from error
    return module


def arguments(ipfs: Kubo, module: Path) -> dict[str, str]:
    """Puts the program and the text on IPFS; returns the arguments of the DAG that name them."""
    return {"tool": ipfs.add_path(module), "text": ipfs.add_path(TEXT)}


def manifest(values: dict[str, str]) -> dict[str, Any]:
    """The example's DAG with other arguments than those that it ships with."""
    dag: dict[str, Any] = yaml.safe_load((FOLDER / "dag.yaml").read_text())
    dag["spec"]["arguments"] = values
    return dag


def read_counts(table: bytes) -> dict[str, int]:
    """Reads counts.tsv: the number of times that each word occurs."""
    return {
        word: int(count) for word, count in csv.reader(_lines(table), delimiter="\t", quoting=csv.QUOTE_NONE)
    }


def read_report(table: bytes) -> list[RankedWord]:
    """Reads report.tsv: the most frequent words."""
    rows = csv.DictReader(_lines(table), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [
        RankedWord(int(row["rank"]), row["word"], int(row["count"]), float(row["percent"])) for row in rows
    ]


def _lines(table: bytes) -> list[str]:
    return table.decode().splitlines()

"""The demonstration: the word-count example from nothing to its result, on real servers on this machine.

Everything lives below one temporary folder, which is removed after a success and kept, with all logs, after a
failure. A terminal sees the graph advance; a log gets one line for each change.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from kubernetes.aio import client, config, watch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controller.api import API_VERSION, GROUP, VERSION
from controller.api.dag import Artifact, BacalhauDAG, RunPhase, parse_dag
from dev import toolchain, wordcount
from dev.plane import TOOLS, ControlPlane
from dev.servers.controller import Controller
from dev.servers.kubectl import KubectlError
from dev.servers.process import ServerError
from dev.watch import duration, follow, run_phase, run_status

NAMESPACE = "demo"

RUN_TIMEOUT = 180.0
"""Seconds that the run may take; it takes about 30 on two cores, most of them for compiling WebAssembly."""

LIVENESS_INTERVAL = 1.0
"""Seconds between two looks at whether the operator still runs."""

SHOWN_WORDS = 10
BAR_WIDTH = 32


class DemoError(Exception):
    """The run did not end as it should; the message says how it ended."""


EXPECTED = (DemoError, ServerError, KubectlError, toolchain.ToolchainError, wordcount.BuildError)


def main(argv: Sequence[str] = ()) -> int:
    """Runs the demonstration; returns the exit code: 0 when the run succeeded and its result was read."""
    argparse.ArgumentParser(prog="python -m dev demo", description=__doc__.split("\n\n")[0]).parse_args(argv)
    console = Console()
    directory = Path(tempfile.mkdtemp(prefix="bacalhau-dag-demo-"))
    try:
        Demo(directory, console).run()
    except EXPECTED as error:
        explain(error, directory, console)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped. All servers have ended.")
        shutil.rmtree(directory)
        return 130
    shutil.rmtree(directory)
    return 0


def explain(error: Exception, directory: Path, console: Console) -> None:
    """Says what failed, where the logs are and what to do."""
    console.print(Text(f"\n✘ {error}", style="bold red"), soft_wrap=True)
    logs = sorted(str(log) for log in directory.glob("*/log"))
    if not logs:
        shutil.rmtree(directory)
        return
    console.print("\nThe logs are kept; that of the controller is the one to read first:", highlight=False)
    for log in logs:
        console.print(f"  {log}", soft_wrap=True, highlight=False)
    console.print(f"Remove {directory} when you have read them, and run the demo again.", soft_wrap=True, highlight=False)


@dataclass
class Demo:
    """One demonstration, step by step."""

    directory: Path
    console: Console

    def run(self) -> None:
        """Goes through all the steps.

        Raises one of EXPECTED if a step fails.
        """
        toolchain.find_all(TOOLS)
        with self.step("Compiled wordcount.go to WebAssembly"):
            module = wordcount.build(self.directory)
        plane = ControlPlane(self.directory)
        controller = Controller(self.directory / "controller", kubeconfig=plane.kubeconfig)
        try:
            with self.step("Started Kubernetes' API, Bacalhau and IPFS"):
                plane.start()
                plane.install_crds()
            with self.step("Started the operator"):
                controller.start()
            with self.step("Added wordcount.wasm and Opticks.txt to IPFS"):
                values = wordcount.arguments(plane.ipfs, module)
            with self.step(f"Created the BacalhauDAG {NAMESPACE}/wordcount"):
                create(plane, values)
            result = asyncio.run(self.watch_run(plane, controller))
            self.show_result(plane, result)
        finally:
            controller.kill()
            plane.close()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Shows what is going on, and how long it took."""
        started = time.monotonic()
        if self.console.is_terminal:
            with self.console.status(title):
                yield
        else:
            yield
        self.console.print(
            Text.assemble(("✔ ", "green"), title, (f"  {duration(time.monotonic() - started)}", "dim"))
        )

    async def watch_run(self, plane: ControlPlane, controller: Controller) -> Artifact:
        """Shows the run until it ends; returns where its report is.

        Raises DemoError if it does not succeed within RUN_TIMEOUT, ServerError if the operator ends before.
        """
        self.console.print()
        supervision = asyncio.create_task(until_it_ends(controller))
        try:
            async with aclosing(sightings(plane.kubeconfig, "wordcount")) as dags:
                following = asyncio.create_task(follow(dags, console=self.console))
                await asyncio.wait([following, supervision], timeout=RUN_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
...

"""The demonstration: the word-count example from nothing to its result, on real servers on this machine.

Everything lives below one temporary folder, which is removed after a success and kept, with all logs, after a
failure. A terminal sees the graph advance; a log gets one line for each change.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import yaml
from kubernetes.aio import client
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from controller.api.dag import BacalhauDAG
from controller.api.status import RunPhase
from dev import toolchain, wordcount
from dev.plane import TOOLS, ControlPlane
from dev.servers.controller import Controller
from dev.servers.kubectl import KubectlError
from dev.servers.process import ServerError
from dev.sightings import sightings
from dev.watch import duration, follow, run_phase, run_status
from dev.wordcount import RankedWord

NAMESPACE = "demo"

RUN_TIMEOUT = 180.0
"""Seconds that the run may take; most of those that it does take go into compiling WebAssembly."""

LIVENESS_INTERVAL = 1.0
"""Seconds between two looks at whether the operator still runs."""

SHOWN_WORDS = 10
BAR_WIDTH = 32


class DemoError(Exception):
    """The run did not end as it should; the message says how it ended."""


EXPECTED = (
    DemoError,
    ServerError,
    KubectlError,
    toolchain.ToolchainError,
    wordcount.BuildError,
    subprocess.SubprocessError,
    httpx.HTTPError,
    aiohttp.ClientError,
    client.ApiException,
)
"""What can go wrong on a machine that is not as it should be; anything else is a mistake in the project."""


def main() -> int:
    """Runs the demonstration; returns the exit code, which is 0 only when the run succeeded and its result was read."""
    console = Console(highlight=False)
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
    """Says what failed, where the logs are and what to do. Without logs, nothing is kept."""
    console.print(Text(f"\n✘ {error}", style="bold red"), soft_wrap=True)
    logs = sorted(directory.glob("*/log"), key=lambda log: log.parent.name != Controller.name)
    if not logs:
        shutil.rmtree(directory)
        return
    console.print("\nThe logs are kept. Read the first of them first:")
    for log in logs:
        console.print(f"  {log}", soft_wrap=True)
    console.print(f"Then remove {directory} and run the demo again.", soft_wrap=True)


@dataclass(frozen=True)
class Demo:
    """One demonstration, step by step."""

    directory: Path
    console: Console

    def run(self) -> None:
        """Goes through all the steps.

        Raises one of EXPECTED if a step fails.
        """
        toolchain.find_all(TOOLS)
        with self.step("Compile wordcount.go to WebAssembly"):
            module = wordcount.build(self.directory)
        plane = ControlPlane(self.directory)
        controller = Controller(self.directory / Controller.name, kubeconfig=plane.kubeconfig)
        try:
            with self.step("Start Kubernetes' API, Bacalhau and IPFS"):
                plane.start()
                plane.install_crds()
            with self.step("Start the operator"):
                controller.start()
            with self.step("Add program and text to IPFS, create the BacalhauDAG"):
                create(plane, wordcount.manifest(wordcount.arguments(plane.ipfs, module)))
            self.console.print()
            self.show_result(plane, asyncio.run(self.watch(plane, controller)))
        finally:
            controller.kill()
            plane.close()

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Says that something was done, and how long it took; a terminal also sees that it goes on."""
        started = time.monotonic()
        with self.console.status(f"{what} …") if self.console.is_terminal else nullcontext():
            yield
        took = duration(time.monotonic() - started)
        self.console.print(Text.assemble(("✔ ", "green"), what, (f"  {took}", "dim")))

    async def watch(self, plane: ControlPlane, controller: Controller) -> BacalhauDAG:
        """Shows the run until it ends; returns it as it ended.

        Raises DemoError if it does not end within RUN_TIMEOUT, ServerError if the operator ends before it.
        """
        async with aclosing(sightings(plane.kubeconfig, namespace=NAMESPACE, name="wordcount")) as dags:
            following = asyncio.create_task(follow(dags, console=self.console))
            try:
                async with asyncio.timeout(RUN_TIMEOUT):
                    await finished(following, controller)
            except TimeoutError:
                raise DemoError(f"The run had not ended after {RUN_TIMEOUT:.0f} s.") from None
            finally:
                following.cancel()
                await asyncio.wait([following])
        last = following.result()
        if last is None:
            raise DemoError("The BacalhauDAG was deleted while it ran.")
        return last

    def show_result(self, plane: ControlPlane, dag: BacalhauDAG) -> None:
        """Reads the results back from IPFS and shows them.

        Raises DemoError if the run did not succeed.
        """
        if run_phase(dag) is not RunPhase.SUCCEEDED:
            raise DemoError(f"The run ended as {run_phase(dag)}: {run_status(dag).message}")
        outputs = {name: artifact.cid or "" for name, artifact in run_status(dag).outputs.items()}
        counts = wordcount.read_counts(plane.ipfs.cat(f"{outputs['counts']}/outputs/counts.tsv"))
        report = wordcount.read_report(plane.ipfs.cat(f"{outputs['report']}/outputs/report.tsv"))
        self.console.print(
            f"\nReport: [bold]/ipfs/{outputs['report']}/outputs/report.tsv[/]\n"
            f"Newton's Opticks has {sum(counts.values()):,} words, {len(counts):,} of them different.\n"
            "The most frequent with at least five letters:\n",
            soft_wrap=True,
        )
        self.console.print(words_table(report[:SHOWN_WORDS]))


async def finished(following: asyncio.Task[Any], controller: Controller) -> None:
    """Waits for the end of the run.

    Raises ServerError if the operator ends before it.
    """
    while not (await asyncio.wait([following], timeout=LIVENESS_INTERVAL))[0]:
        if not controller.running:
            raise ServerError(f"The operator ended. The end of its log:\n{controller.log_tail()}")


def create(plane: ControlPlane, dag: dict[str, Any]) -> None:
    """Creates a namespace, the connection to the plane's Bacalhau in it, and the DAG."""
    plane.kubectl("create", "namespace", NAMESPACE)
    plane.create_connection(namespace=NAMESPACE)
    plane.kubectl("create", "--namespace", NAMESPACE, "-f", "-", stdin=yaml.safe_dump(dag))


def words_table(words: Sequence[RankedWord]) -> RenderableType:
    """Words with their counts, and bars in proportion to these."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim")
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(justify="right", style="dim")
    most = max((word.count for word in words), default=1)
    for word in words:
        bar = Text("█" * round(BAR_WIDTH * word.count / most), style="cyan")
        table.add_row(str(word.rank), word.word, f"{word.count:,}", f"{word.percent:.2f} %", bar)
    return table

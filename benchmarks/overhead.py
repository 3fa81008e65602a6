"""How much longer a DAG takes than a bare script that submits the same jobs: `python -m benchmarks.overhead`.

Both sides run on the same servers, in one run of this program, in turns (A B, B A, A B, …), so that whatever else the
machine does meets both alike. Each pair gives a ratio; the figure to look at is the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator

from rich.console import Console

from benchmarks import history, meters, report, workload
from benchmarks.dags import NAMESPACE
from benchmarks.sides import Result, Sides
from benchmarks.workload import Workload
from dev.plane import ControlPlane
from dev.servers.controller import Controller

progress = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Starts the servers and the operator, runs everything, and prints what was measured."""
    options = _options()
    with ControlPlane() as plane:
        plane.install_crds()
        plane.create_connection(namespace=NAMESPACE)
        controller = Controller(plane.directory / "controller", kubeconfig=plane.kubeconfig)
        controller.start()
        try:
            results = asyncio.run(_measure(plane, controller, options))
            peak = meters.peak_memory(controller)
        finally:
            controller.kill()
    if options.output == "json":
        print(report.as_json(results, peak_memory=peak))
    else:
        report.show(results, peak_memory=peak, console=Console(highlight=False))


async def _measure(plane: ControlPlane, controller: Controller, options: argparse.Namespace) -> list[Result]:
    sides = Sides(plane, controller)
    works = [workload.chain(options.length), workload.fan(options.width)]
    try:
        await _warm_up(sides)
        results = [result async for result in _compare(sides, works, rounds=options.rounds, old_jobs=0)]
        if options.old_jobs:
            progress.print(f"Submitting {options.old_jobs:,} old jobs.")
            await history.fill(plane.bacalhau.url, options.old_jobs)
            await _warm_up(sides)
            results += [
                result
                async for result in _compare(sides, works, rounds=options.rounds, old_jobs=options.old_jobs)
            ]
    finally:
        await sides.aclose()
    return results


async def _warm_up(sides: Sides) -> None:
    """Lets both sides and all servers do once what they do for the first time, and Bacalhau catch up."""
    await sides.compare(workload.chain(3), floor_first=True)


async def _compare(
    sides: Sides, works: list[Workload], *, rounds: int, old_jobs: int
) -> AsyncIterator[Result]:
    for work in works:
        pairs = []
        for number in range(rounds):
            pair = await sides.compare(work, floor_first=number % 2 == 0)
            pairs.append(pair)
            progress.print(
                f"{work.name}, {old_jobs:,} old jobs, pair {number + 1} of {rounds}: "
                f"script {pair.floor.seconds:.2f} s, operator {pair.operator.seconds:.2f} s, ratio {pair.ratio:.2f}"
            )
        yield Result(work, old_jobs, pairs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="pairs of runs for each workload")
    parser.add_argument("--length", type=int, default=20, help="nodes of the chain")
    parser.add_argument("--width", type=int, default=200, help="nodes that the fan runs at once")
    parser.add_argument("--old-jobs", type=int, default=8000, help="jobs that Bacalhau holds the second time")
    parser.add_argument("-o", "--output", choices=["table", "json"], default="table")
    return parser.parse_args()


if __name__ == "__main__":
    main()

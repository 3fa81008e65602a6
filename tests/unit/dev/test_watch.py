"""The view of a run: the layout of its graph as a tree, and what a terminal and a log show of it."""

import io
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from controller.api import API_VERSION
from controller.api.dag import BacalhauDAG, parse_dag
from dev import watch
from dev.tree import layout

NOON = datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC)
MAP_REDUCE = {
    "split": [],
    "count-0": ["split"],
    "count-1": ["split"],
    "reduce": ["count-0", "count-1"],
    "report": ["reduce"],
}


def dag(
    graph: Mapping[str, list[str]], status: Mapping[str, Any] | None = None, *, last: Sequence[str] = ()
) -> BacalhauDAG:
    """A DAG whose edges are inputs; ``last`` are its nodes of ``finally``."""
    nodes = [
        {"name": name, "job": {}, "inputs": [{"from": source} for source in sources]}
        for name, sources in graph.items()
    ]
    return parse_dag(
        {
            "apiVersion": API_VERSION,
            "kind": "BacalhauDAG",
            "metadata": {"name": "words", "namespace": "default", "uid": "u"},
            "spec": {"nodes": nodes, "finally": [{"name": name, "job": {}} for name in last]},
            "status": status,
        }
    )


RUNNING = {
    "phase": "Running",
    "startTime": "2026-01-01T12:00:00Z",
    "nodes": {
        "split": {
            "phase": "Succeeded",
            "startedAt": "2026-01-01T12:00:00Z",
            "finishedAt": "2026-01-01T12:00:02.5Z",
            "outputs": {"uri": "ipfs://QmSplit", "cid": "QmSplit"},
        },
        "count-0": {"phase": "Running", "startedAt": "2026-01-01T12:00:03Z"},
        "count-1": {"phase": "Queued"},
    },
}
FAILED = {
    "phase": "Failed",
    "message": 'node "split": exit code 7: no such file',
    "nodes": {"split": {"phase": "Failed", "exitCode": 7, "message": "exit code 7: no such file"}},
}


def drawn(run: BacalhauDAG, width: int = 100) -> list[str]:
    """The tree as lines of text, without trailing blanks."""
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(watch.render(run, layout(run.spec), at=NOON))
    return [line.rstrip() for line in console.export_text().splitlines()]


async def sequence(*runs: BacalhauDAG) -> AsyncIterator[BacalhauDAG]:
    for run in runs:
        yield run


async def lines_of(*runs: BacalhauDAG) -> list[str]:
    """What a log shows of a sequence of sightings."""
    output = io.StringIO()
    await watch.follow(sequence(*runs), console=Console(file=output, width=40), clock=lambda: NOON)
    return output.getvalue().splitlines()


def test_the_tree_shows_phases_times_and_results() -> None:
    heading, *nodes = drawn(dag(MAP_REDUCE, RUNNING))
    assert heading.split()[0] == "words"
    assert heading.split()[-2:] == ["1/5", "5.0s"]
    assert nodes[0].split() == ["└─", "split", "✔", "Succeeded", "2.5s", "QmSplit"]
    assert nodes[1].split()[-2:] == ["Running", "2.0s"]
    assert nodes[2].split()[-2:] == ["◔", "Queued"]
    assert nodes[4].split() == ["└─", "report", "○", "Pending"]


def test_the_columns_are_aligned_whatever_the_depth() -> None:
    _, *nodes = drawn(dag(MAP_REDUCE))
    assert len({line.index("○") for line in nodes}) == 1


def test_a_failure_is_explained_below_the_tree() -> None:
    *_, last = drawn(dag({"split": []}, FAILED))
    assert last == 'node "split": exit code 7: no such file'


def test_a_narrow_terminal_cuts_results_and_nothing_else() -> None:
    cid = "Qm" + "x" * 44
    succeeded = {"phase": "Succeeded", "outputs": {"uri": f"ipfs://{cid}", "cid": cid}}
    _, *nodes = drawn(dag(MAP_REDUCE, {"nodes": dict.fromkeys(MAP_REDUCE, succeeded)}), width=80)
    assert len(nodes) == len(MAP_REDUCE)
    assert all("✔ Succeeded" in line and line.endswith("…") for line in nodes)
    assert any("reduce  ← count-0, count-1 " in line for line in nodes)


def test_the_last_nodes_have_a_heading_of_their_own() -> None:
    notify = {"phase": "Running", "startedAt": "2026-01-01T12:00:04Z"}
    status = {"phase": "Running", "nodes": {"split": {"phase": "Failed"}, "notify": notify}}
    heading, _, *last = drawn(dag({"split": []}, status, last=["notify"]))
    assert heading.split()[-2] == "1/2"
    assert last[0] == "finally"
    assert last[1].split()[:2] == ["└─", "notify"]
    assert last[1].split()[-2:] == ["Running", "1.0s"]


def fan_out(*unsuccessful: int, total: int = 8) -> dict[str, Any]:
    """The status of a run whose node ``count`` has items, of which these failed and three succeeded."""
    items = {"total": total, "succeeded": 3, "failed": len(unsuccessful), "running": 1}
    failed = {"phase": "Failed", "message": "exit code 7: no such file"}
    return {
        "phase": "Running",
        "nodes": {
            "count": {"phase": "Running", "items": items},
            "count[0]": {"phase": "Succeeded"},
            **{f"count[{number}]": failed for number in unsuccessful},
        },
    }


def test_a_fan_out_is_a_line_with_its_progress_and_one_for_each_item_that_failed() -> None:
    run = dag({"count": [], "sum": ["count"]}, fan_out(2, 6))
    heading, count, second, sixth, last = drawn(run)
    assert heading.split()[-2] == "5/9"
    assert count.split()[:2] == ["└─", "count"]
    assert count.split()[-2:] == ["Running", "3/8"]
    assert second.split() == ["count[2]", "✘", "Failed", "exit", "code", "7:", "no", "such", "file"]
    assert sixth.split()[0] == "count[6]"
    assert last.split()[:2] == ["└─", "sum"]
    assert second.index("count[2]") > count.index("count")


def test_many_items_that_failed_are_counted() -> None:
    lines = drawn(dag({"count": []}, fan_out(*range(1, 98), total=100)))
    assert len(lines) == 2 + watch.MANY_ITEMS + 1
    assert lines[-1].strip() == f"… and {97 - watch.MANY_ITEMS} more"


async def test_a_log_tells_of_the_items_that_failed() -> None:
    lines = await lines_of(dag({"count": []}, fan_out(1)), dag({"count": []}, fan_out(1, 2)))
    assert [line.split()[2] for line in lines] == ["count", "count[1]", "words", "count[2]"]


async def test_a_log_tells_of_the_last_nodes_too() -> None:
    status = {"phase": "Running", "nodes": {"notify": {"phase": "Queued"}}}
    first, *_ = await lines_of(dag({"split": []}, status, last=["notify"]))
    assert first.split()[2:4] == ["notify", "Queued"]


async def test_a_log_has_one_line_for_each_change_of_a_phase() -> None:
    lines = await lines_of(dag(MAP_REDUCE), dag(MAP_REDUCE, RUNNING), dag(MAP_REDUCE, RUNNING))
    assert [line.split()[2:4] for line in lines] == [
        ["words", "Pending"],
        ["split", "Succeeded"],
        ["count-0", "Running"],
        ["count-1", "Queued"],
        ["words", "Running"],
    ]
    assert lines[1].split()[-2:] == ["2.5s", "QmSplit"]


async def test_a_log_says_why_a_run_failed() -> None:
    lines = await lines_of(dag({"split": []}, FAILED))
    assert lines[0].endswith("exit code 7: no such file")
    assert lines[1].endswith('node "split": exit code 7: no such file')


async def test_following_stops_at_the_end_of_the_run() -> None:
    finished = dag({"a": []}, {"phase": "Succeeded"})
    rest = sequence(dag({"a": []}), finished, dag({"a": []}))
    last = await watch.follow(rest, console=Console(file=io.StringIO()))
    assert last is finished
    assert [run async for run in rest] != []


async def test_a_terminal_shows_the_tree_as_it_ended() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    finished = dag({"only": []}, {"phase": "Succeeded", "nodes": {"only": {"phase": "Succeeded"}}})
    await watch.follow(sequence(dag({"only": []}), finished), console=console, clock=lambda: NOON)
    assert "✔ Succeeded" in output.getvalue()


async def test_nothing_to_follow_gives_nothing() -> None:
    assert await watch.follow(sequence(), console=Console(file=io.StringIO())) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (2.13, "2.1s"), (42.4, "42s"), (59.7, "1m00s"), (187, "3m07s"), (7500, "2h05m")],
)
def test_lengths_of_time_read_well(seconds: float, text: str) -> None:
    assert watch.duration(seconds) == text

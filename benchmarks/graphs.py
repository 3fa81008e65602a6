"""Graphs on which workflow engines are known to have choked, and graphs that people ran.

Each stands for a cost that grows faster than the graph: with the paths through it (dense, layers), with what nodes read of each other
(chain), with the width of a join (fan-in).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Document = dict[str, Any]

LONGEST_NAME = 63


def node(name: str, *, after: Sequence[str] = (), inputs: Sequence[str] = (), step: str = "x") -> Document:
    """A node that uses the template below."""
    mounted = [{"from": producer} for producer in inputs]
    return {
        "name": name,
        "template": "tool",
        "arguments": {"step": step},
        "dependencies": list(after),
        "inputs": mounted,
    }


def dag(nodes: Sequence[Document], **fields: Any) -> Document:
    """A spec whose nodes share one template."""
    job = {
        "Tasks": [
            {
                "Engine": {
                    "Type": "wasm",
                    "Params": {"EntryModule": "/tool.wasm", "Parameters": ["${{ inputs.step }}"]},
                },
                "Publisher": {"Type": "ipfs"},
                "ResultPaths": [{"Name": "outputs", "Path": "/outputs"}],
            }
        ]
    }
    template = {"name": "tool", "parameters": [{"name": "step"}], "job": job}
    return {"nodes": list(nodes), "jobTemplates": [template], "failurePolicy": "RunAll"} | fields


def dense(branches: int, length: int, *, cyclic: bool = False) -> Document:
    """Branches of which each node depends on all nodes before it; the last branch closes to a cycle on request."""
    nodes = [
        node(f"b{branch}-{place}", after=[f"b{branch}-{before}" for before in range(place)])
        for branch in range(branches)
        for place in range(length)
    ]
    if cyclic:
        nodes[-length]["dependencies"] = [nodes[-1]["name"]]
    return dag(nodes)


def chain(length: int) -> Document:
    """A chain in which each node mounts the result of the one before and reads its exit code."""
    nodes = [node("n0")]
    for number in range(1, length):
        code = f"${{{{ string(nodes.n{number - 1}.exitCode) }}}}"
        nodes.append(node(f"n{number}", inputs=[f"n{number - 1}"], step=code))
    return dag(nodes)


def layered(width: int, depth: int) -> Document:
    """Layers of which each node depends on all of the layer before."""
    return dag(
        [
            node(
                f"l{layer}-{place}",
                after=[f"l{layer - 1}-{producer}" for producer in range(width)] if layer else [],
            )
            for layer in range(depth)
            for place in range(width)
        ]
    )


def fan_in(width: int, **fields: Any) -> Document:
    """Many nodes, and one that mounts all their results."""
    names = [f"n{number}" for number in range(width)]
    return dag([*(node(name) for name in names), node("sink", inputs=names)], **fields)


def fan_out(width: int) -> Document:
    """One node that runs once for each of many items, and one that mounts the results of all of them."""
    items = node("items", step="${{ string(item) }}") | {"forEach": {"range": {"count": width}}}
    return dag([items, node("sink", inputs=["items"])])


def misspelt(width: int) -> Document:
    """A node that depends on many that do not exist, though some with similar names do."""
    names = [f"n{number}" for number in range(width)]
    return dag([*(node(name) for name in names), node("sink", after=[f"{name}x" for name in names])])


def workflows(folder: Path) -> Iterator[tuple[str, Document]]:
    """The workflows of a folder by name, the smallest first: `*.dag.json` with tasks, each with an id and its parents."""
    for path in sorted(folder.glob("*.dag.json"), key=lambda path: path.stat().st_size):
        name = path.name.removesuffix(".dag.json").replace("-chameleon", "")  # where all of them ran
        yield name, workflow(json.loads(path.read_text())["tasks"])


def workflow(tasks: Sequence[Document]) -> Document:
    """A workflow that people ran. Names that are too long keep their ends, which hold the numbers."""
    names = {task["id"]: task["id"][-LONGEST_NAME:].lstrip("_-.") for task in tasks}
    return dag(
        [node(names[task["id"]], inputs=[names[parent] for parent in task["parents"]]) for task in tasks]
    )

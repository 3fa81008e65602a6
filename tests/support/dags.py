"""DAGs of the test tool as a user would write them, small enough that a case says only what it is about.

Nodes use the template `tool`, whose argument `words` is what the program is called with; `job_step` gives a node a job of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dev.plane import ControlPlane
from tests.support import wasm

Manifest = dict[str, Any]

Edges = Mapping[str, Sequence[str]]
"""The producers of each node, by its name."""

IPFS = {"Type": "ipfs"}


def manifest(name: str, *nodes: Manifest, **spec: Any) -> Manifest:
    """A BacalhauDAG of these nodes; the last one's result is its output `result` unless `outputs` says otherwise."""
    outputs = [{"name": "result", "from": nodes[-1]["name"]}]
    return {
        "apiVersion": "bacalhau.org/v1alpha1",
        "kind": "BacalhauDAG",
        "metadata": {"name": name},
        "spec": {"jobTemplates": [tool_template()], "outputs": outputs, "nodes": list(nodes)} | spec,
    }


def tool_template() -> Manifest:
    """The job template `tool`: the test tool, which publishes to IPFS."""
    parameters = [{"name": "words", "type": "array"}]
    return {"name": "tool", "parameters": parameters, "job": tool_job("${{ inputs.words }}", publisher=IPFS)}


def s3(plane: ControlPlane, bucket: str, *, encoding: str = "plain") -> Manifest:
    """An S3 publisher to a bucket that it makes."""
    plane.s3.create_bucket(bucket)
    params = {"Bucket": bucket, "Key": "runs/{jobID}/{executionID}/", "Encoding": encoding}
    return {"Type": "s3", "Params": params | {"Endpoint": plane.s3.endpoint, "Region": plane.s3.region}}


def tool_job(words: str | Iterable[str], *, publisher: Mapping[str, Any] | None, **task: Any) -> Manifest:
    """A job that runs the test tool; further arguments replace fields of its task."""
    job = wasm.job("", publisher=dict(publisher) if publisher else None)
    job["Tasks"][0] |= task
    job["Tasks"][0]["Engine"]["Params"]["Parameters"] = words if isinstance(words, str) else list(words)
    del job["Name"], job["Namespace"], job["Tasks"][0]["Timeouts"]
    if "Timeouts" in task:
        job["Tasks"][0]["Timeouts"] = task["Timeouts"]
    return job


def step(name: str, *words: str, inputs: Iterable[str | Manifest] = (), **fields: Any) -> Manifest:
    """A node that runs the test tool with `words`, after reading the results of `inputs`."""
    arguments = {"words": list(words)}
    return {"name": name, "template": "tool", "arguments": arguments, "inputs": _inputs(inputs)} | fields


def job_step(
    name: str,
    *words: str,
    inputs: Iterable[str | Manifest] = (),
    publisher: Mapping[str, Any] | None = IPFS,
    **task: Any,
) -> Manifest:
    """A node whose job is its own: another publisher, or other fields of the task."""
    return {"name": name, "job": tool_job(words, publisher=publisher, **task), "inputs": _inputs(inputs)}


def heir(name: str, edges: Edges) -> Manifest:
    """A node that writes a file with its own name, and passes on every file of its producers.

    `edges` names each node's producers. Files, not standard output: Bacalhau does not keep the order in which a program prints.
    """
    origins = {file: producer for producer in edges[name] for file in legacy(producer, edges)}
    copies = [
        word
        for file, producer in origins.items()
        for word in ("copy", f"/inputs/{producer}/outputs/{file}", f"/outputs/{file}")
    ]
    return step(name, *copies, "write", f"/outputs/{name}", name, inputs=edges[name])


def heirs(edges: Edges) -> list[Manifest]:
    """A graph of such nodes."""
    return [heir(name, edges) for name in edges]


def legacy(name: str, edges: Edges) -> set[str]:
    """The files that such a node publishes: its own, and those of all that came before it."""
    found, stack = {name}, [name]
    while stack:
        new = set(edges[stack.pop()]) - found
        found |= new
        stack.extend(new)
    return found


def _inputs(inputs: Iterable[str | Manifest]) -> list[Manifest]:
    return [{"from": item} if isinstance(item, str) else item for item in inputs]

"""WebAssembly modules for real jobs, and the jobs around them.

The test tool is written in WebAssembly text and assembled when it is first needed: two kilobytes, which a Bacalhau node
compiles in milliseconds, small enough to travel inside the job. What its arguments mean is told in `testtool.wat`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import wasmtime

_NOOP = '(module $noop (memory (export "memory") 1) (func $start (export "_start")))'


@cache
def testtool() -> bytes:
    """The test tool, assembled."""
    return assemble((Path(__file__).parent / "testtool.wat").read_text())


@cache
def noop() -> bytes:
    """The smallest module that a node accepts: it returns at once, which Bacalhau shows as exit code -1."""
    return assemble(_NOOP)


def assemble(text: str) -> bytes:
    """A module from WebAssembly text, with the names in it, which Bacalhau insists on."""
    return bytes(wasmtime.wat2wasm(text))


def inline_source(module: bytes, target: str = "/tool.wasm") -> dict[str, Any]:
    """An input source that carries a module within the job."""
    url = f"data:application/wasm;base64,{base64.b64encode(module).decode()}"
    return {"Source": {"Type": "inline", "Params": {"URL": url}}, "Target": target}


def job(
    name: str,
    *words: str,
    namespace: str = "default",
    publisher: dict[str, Any] | None = None,
    sources: Iterable[dict[str, Any]] = (),
    module: bytes | None = None,
) -> dict[str, Any]:
    """A job of one task that runs the test tool (or another module) with `words` as its arguments.

    With a publisher, what it writes below `/outputs` is published.
    """
    results = (
        {"Publisher": publisher, "ResultPaths": [{"Name": "outputs", "Path": "/outputs"}]}
        if publisher
        else {}
    )
    task = {
        "Name": "main",
        "Engine": {
            "Type": "wasm",
            "Params": {"EntryModule": "/tool.wasm", "Entrypoint": "_start", "Parameters": list(words)},
        },
        "InputSources": [inline_source(module or testtool()), *sources],
        "Resources": {"CPU": "100m", "Memory": "64Mb"},
        "Network": {"Type": "None"},
        "Timeouts": {"ExecutionTimeout": 60, "QueueTimeout": 60, "TotalTimeout": 180},
        **results,
    }
    return {"Name": name, "Namespace": namespace, "Type": "batch", "Count": 1, "Tasks": [task]}

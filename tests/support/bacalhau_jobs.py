"""Bacalhau jobs for tests, as they are sent."""

from typing import Any

from controller.api.bacalhau import META_SPEC_HASH

NOOP_WASM = "AGFzbQEAAAABBAFgAAADAgEABwoBBl9zdGFydAAACgQBAgALABUEbmFtZQAFBG5vb3ABBwEABG1haW4="
"""A module that does nothing, with a name section, without which Bacalhau refuses it."""


def a_job(
    name: str = "job-1", *, namespace: str = "run-1", spec_hash: str = "hash-1", **fields: Any
) -> dict[str, Any]:
    """A small WASM job that carries its module with it."""
    module = {"Type": "inline", "Params": {"URL": f"data:application/wasm;base64,{NOOP_WASM}"}}
    task = {
        "Name": "main",
        "Engine": {"Type": "wasm", "Params": {"EntryModule": "/app/main.wasm", "Entrypoint": "_start"}},
        "InputSources": [{"Source": module, "Target": "/app/main.wasm"}],
        "Resources": {"CPU": "100m", "Memory": "64Mb"},
        "Network": {"Type": "None"},
        "Timeouts": {"ExecutionTimeout": 60, "QueueTimeout": 60, "TotalTimeout": 180},
    }
    job = {"Name": name, "Namespace": namespace, "Type": "batch", "Count": 1, "Labels": {"dag": "test"}}
    return job | {"Meta": {META_SPEC_HASH: spec_hash}, "Tasks": [task]} | fields

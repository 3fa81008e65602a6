"""A DAG as the API server announces it: its present state, then each change, without asking twice."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from kubernetes.aio import client, config, watch

from controller.api import GROUP, VERSION
from controller.api.dag import BacalhauDAG, parse_dag


async def sightings(kubeconfig: Path, *, namespace: str, name: str) -> AsyncGenerator[BacalhauDAG, None]:
    """Gives a DAG whenever it has changed, until it is deleted."""
    async with (
        await config.new_client_from_config(str(kubeconfig), persist_config=False) as api,
        watch.Watch().stream(
            client.CustomObjectsApi(api).list_namespaced_custom_object,
            GROUP,
            VERSION,
            namespace,
            "bacalhaudags",
            field_selector=f"metadata.name={name}",
        ) as events,
    ):
        async for event in events:
            if event["type"] == "DELETED":
                return
            yield parse_dag(event["object"])

"""The operator itself, as a process outside the cluster that acts through a kubeconfig."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from typing_extensions import override

from dev.servers.process import Server, free_port, loopback_client

ROOT = Path(__file__).parent.parent.parent


class Controller(Server):
    """`python -m controller` from this checkout; further settings as `BACALHAU_DAG_…` variables."""

    name = "controller"

    def __init__(
        self, directory: Path, *, kubeconfig: Path, settings: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(directory)
        self._kubeconfig = kubeconfig
        self._settings = settings or {}
        self._port = free_port()
        self._http = loopback_client(self.url)

    @property
    @override
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @override
    def command(self) -> list[str]:
        return [sys.executable, "-m", "controller"]

    @override
    def environment(self) -> Mapping[str, str]:
        return {
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "KUBECONFIG": str(self._kubeconfig),
            "BACALHAU_DAG_HTTP_ADDRESS": "127.0.0.1",
            "BACALHAU_DAG_HTTP_PORT": str(self._port),
            **self._settings,
        }

    @override
    def ready(self) -> bool:
        return self._http.get("/readyz").status_code == 200

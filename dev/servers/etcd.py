"""Etcd, the API server's store. It does not sync to disk: its data is as short-lived as the plane."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from dev import toolchain
from dev.servers.process import Server, free_port, loopback_client


class Etcd(Server):
    """A single etcd member."""

    name = "etcd"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._client_url = f"http://127.0.0.1:{free_port()}"
        self._peer_url = f"http://127.0.0.1:{free_port()}"
        self._http = loopback_client(self._client_url)

    @property
    @override
    def url(self) -> str:
        return self._client_url

    @override
    def command(self) -> list[str]:
        return [
            str(toolchain.find("etcd")),
            f"--data-dir={self.directory / 'data'}",
            f"--listen-client-urls={self._client_url}",
            f"--advertise-client-urls={self._client_url}",
            f"--listen-peer-urls={self._peer_url}",
            f"--initial-advertise-peer-urls={self._peer_url}",
            f"--initial-cluster=default={self._peer_url}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    @override
    def ready(self) -> bool:
        return self._http.get("/health").status_code == 200

"""A Bacalhau node: orchestrator, compute, or both in one process.

It runs WebAssembly (no container engine is needed) and publishes to IPFS, to S3 and to its own disk. The one listener
that cannot be kept to loopback is that of the `local` publisher: Bacalhau binds it to every interface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from dev import toolchain
from dev.servers.certificates import Certificate
from dev.servers.kubo import Kubo
from dev.servers.process import Server, free_port, loopback_client
from dev.servers.s3 import S3

Config = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class BacalhauOptions:
    """How a node differs from the usual one, which is orchestrator and compute without authentication."""

    orchestrator: bool = True
    compute: bool = True
    joins: BacalhauServer | None = None  # the orchestrator of a node that is compute only
    api_key: str | None = None  # asked of every client, which may then do everything
    certificate: Certificate | None = None  # serves the API over TLS
    config: Config | None = None  # laid over all the rest, spelled as in Bacalhau's config.yaml


class BacalhauServer(Server):
    """One node, with the storage that it reads from and publishes to."""

    def __init__(
        self, directory: Path, *, kubo: Kubo, s3: S3, name: str = "bacalhau", options: BacalhauOptions
    ) -> None:
        super().__init__(directory)
        self.name = name
        self.options = options
        self._kubo = kubo
        self._s3 = s3
        self._port = free_port()
        self._nats_port = free_port()
        self._publisher_port = free_port()
        trust = options.certificate.trust if options.certificate else None
        self._http = loopback_client(self.url, headers=self._authorization(), trust=trust)

    @property
    @override
    def url(self) -> str:
        scheme = "https" if self.options.certificate else "http"
        return f"{scheme}://127.0.0.1:{self._port}"

    @property
    def nats_url(self) -> str:
        """Where compute nodes join this orchestrator."""
        return f"nats://127.0.0.1:{self._nats_port}"

    @override
    def environment(self) -> Mapping[str, str]:
        return self._s3.client_environment  # without credentials Bacalhau does not offer its S3 publisher

    @override
    def prepare(self) -> None:
        super().prepare()
        config = _overlaid(self._config(), self.options.config or {})
        (self.directory / "config.yaml").write_text(yaml.safe_dump(config))

    @override
    def command(self) -> list[str]:
        files = [f"--config={self.directory / 'config.yaml'}", f"--data-dir={self.directory / 'data'}"]
        return [str(toolchain.find("bacalhau")), "serve", f"--name={self.name}", *files]

    @override
    def ready(self) -> bool:
        if self._http.get("/api/v1/agent/alive").status_code != 200:
            return False
        orchestrator = self if self.options.orchestrator else self.options.joins
        return not self.options.compute or orchestrator is None or orchestrator.has_connected(self.name)

    def has_connected(self, node: str) -> bool:
        """Whether this orchestrator would give jobs to a compute node."""
        response = self._http.get(f"/api/v1/orchestrator/nodes/{node}")
        if response.status_code != 200:
            return False
        state = response.json()["Node"]
        return bool(state["Membership"] == "APPROVED" and state["ConnectionState"]["Status"] == "CONNECTED")

    def _config(self) -> Config:
        joins = self.options.joins or self
        return {
            "API": self._api_config(),
            "Orchestrator": {
                "Enabled": self.options.orchestrator,
                "Host": "127.0.0.1",
                "Port": self._nats_port,
                "Scheduler": {"QueueBackoff": "5s"},
            },
            "Compute": {"Enabled": self.options.compute, "Orchestrators": [joins.nats_url]},
            "Engines": {"Disabled": ["docker"]},
            "Publishers": {
                "Types": {
                    "IPFS": {"Endpoint": self._kubo.api_multiaddr},
                    "Local": {"Address": "127.0.0.1", "Port": self._publisher_port},
                }
            },
            "InputSources": {"Types": {"IPFS": {"Endpoint": self._kubo.api_multiaddr}}},
            "DisableAnalytics": True,
            "UpdateConfig": {"Interval": "0s"},
            "WebUI": {"Enabled": False},
        }

    def _api_config(self) -> Config:
        api: dict[str, Any] = {"Host": "127.0.0.1", "Port": self._port}
        if self.options.api_key:
            everything = [{"Actions": ["*"]}]
            api["Auth"] = {
                "Users": [{"Alias": "plane", "APIKey": self.options.api_key, "Capabilities": everything}]
            }
        if self.options.certificate:
            api["TLS"] = {
                "CertFile": str(self.options.certificate.chain),
                "KeyFile": str(self.options.certificate.key),
            }
        return api

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.options.api_key}"} if self.options.api_key else {}


def _overlaid(base: Config, over: Config) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = (
            _overlaid(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
        )
    return merged

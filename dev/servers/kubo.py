"""Kubo, the IPFS node that results are published to and inputs are read from. It is offline: it knows no peers."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from typing_extensions import override

from dev import toolchain
from dev.servers.process import Server, ServerError, free_port, loopback_client


@dataclass(frozen=True)
class Link:
    """One entry of a directory: its name, its CID and its size in bytes."""

    name: str
    cid: str
    size: int
    is_directory: bool


class Kubo(Server):
    """An IPFS node, and the few calls that put content into it and read it back."""

    name = "kubo"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._api_port = free_port()
        self._gateway_port = free_port()
        self._http = loopback_client(self.api_url)

    @property
    @override
    def url(self) -> str:
        return self.api_url

    @property
    def api_url(self) -> str:
        """The RPC API, `/api/v0` below it."""
        return f"http://127.0.0.1:{self._api_port}"

    @property
    def api_multiaddr(self) -> str:
        """The RPC API as Bacalhau's configuration spells it."""
        return f"/ip4/127.0.0.1/tcp/{self._api_port}"

    @property
    def gateway_url(self) -> str:
        """The HTTP gateway, `/ipfs/<cid>` below it."""
        return f"http://127.0.0.1:{self._gateway_port}"

    @property
    def repository(self) -> Path:
        """Its repository, which `ipfs` takes as `IPFS_PATH` to talk to it."""
        return self.directory / "repo"

    @override
    def environment(self) -> Mapping[str, str]:
        return {"IPFS_PATH": str(self.repository), "IPFS_TELEMETRY": "off"}

    @override
    def prepare(self) -> None:
        super().prepare()
        environment = {**os.environ, **self.environment()}
        command = [str(toolchain.find("ipfs")), "init", "--empty-repo"]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
        path = self.repository / "config"
        path.write_text(json.dumps(self._isolated(json.loads(path.read_text()))))

    def _isolated(self, config: dict[str, Any]) -> dict[str, Any]:
        return {
            **config,
            "Addresses": {
                "API": self.api_multiaddr,
                "Gateway": f"/ip4/127.0.0.1/tcp/{self._gateway_port}",
                "Swarm": [],
                "Announce": [],
                "AppendAnnounce": [],
                "NoAnnounce": [],
            },
            "AutoConf": {"Enabled": False},
            "Bootstrap": [],
            "DNS": {"Resolvers": {}},
            "Discovery": {"MDNS": {"Enabled": False}},
            "Routing": {"Type": "none", "DelegatedRouters": []},
            "Ipns": {**config["Ipns"], "DelegatedPublishers": []},
            "Gateway": {**config["Gateway"], "NoFetch": True},
        }

    @override
    def command(self) -> list[str]:
        return [str(toolchain.find("ipfs")), "daemon", "--offline"]

    @override
    def ready(self) -> bool:
        return self._http.post("/api/v0/version").status_code == 200

    def add(self, content: bytes) -> str:
        """Stores one file; returns its CID."""
        return self._add({"file": content}, wrap=False)

    def add_directory(self, files: Mapping[str, bytes]) -> str:
        """Stores a directory given as `{"path/in/it": content}`; returns its CID."""
        return self._add(files, wrap=True)

    def add_path(self, path: Path) -> str:
        """Stores a file, or a directory with all the files below it; returns its CID."""
        if path.is_file():
            return self.add(path.read_bytes())
        files = (file for file in sorted(path.rglob("*")) if file.is_file())
        return self.add_directory({file.relative_to(path).as_posix(): file.read_bytes() for file in files})

    def cat(self, path: str) -> bytes:
        """The content of a file: `<cid>` or `<cid>/path/in/it`."""
        return self._call("cat", arg=path)

    def ls(self, path: str) -> list[Link]:
        """The entries of a directory."""
        listed = json.loads(self._call("ls", arg=path))["Objects"][0]["Links"]
        return [
            Link(name=link["Name"], cid=link["Hash"], size=link["Size"], is_directory=link["Type"] == 1)
            for link in listed
        ]

    def read_directory(self, cid: str) -> dict[str, bytes]:
        """All the files below a directory, as `add_directory` takes them."""
        files: dict[str, bytes] = {}
        for link in self.ls(cid):
            if link.is_directory:
                below = self.read_directory(link.cid)
                files.update({f"{link.name}/{path}": content for path, content in below.items()})
            else:
                files[link.name] = self.cat(link.cid)
        return files

    def _add(self, files: Mapping[str, bytes], *, wrap: bool) -> str:
        parts = [
            ("file", (quote(name), content, "application/octet-stream")) for name, content in files.items()
        ]
        options = {"cid-version": "1", "wrap-with-directory": str(wrap).lower(), "pin": "true"}
        response = self._http.post("/api/v0/add", params=options, files=parts, timeout=120)
        self._check(response.status_code, response.text)
        cid: str = json.loads(response.text.splitlines()[-1])["Hash"]
        return cid

    def _call(self, command: str, **parameters: str) -> bytes:
        response = self._http.post(f"/api/v0/{command}", params=parameters, timeout=120)
        if response.status_code != 200:
            self._check(response.status_code, response.text)
        return response.content

    def _check(self, status: int, text: str) -> None:
        if status != 200:
            raise ServerError(f"Kubo answered {status}: {text.strip()}")

"""A Kubo RPC API in memory, as Kubo 0.43 answers: content by its CIDs, and on top of it a table of paths for tests that need no content.

``tests/contract`` holds it to the real one.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from controller.bacalhau import cids
from controller.bacalhau.http import Channel, Endpoint

Directory = dict[str, str]
"""The CIDs of a directory's entries, by their names."""

RAW, DAG_PB, SHA2_256 = 0x55, 0x70, b"\x12\x20"
FILE_TYPE, DIRECTORY_TYPE = 2, 1
BYTES_OF_A_LINK = 50
BYTES_OF_A_PART = 262144


class Refusal(Exception):
    """What Kubo says of a path that leads nowhere."""


class FakeKubo:
    """The node. Set ``trouble`` to let it fail with that message, ``stranger`` to let it not be Kubo."""

    def __init__(self, table: Mapping[str, str] | None = None) -> None:
        self.requests: list[str] = []
        self.trouble = ""
        self.stranger = False
        self.pinned: set[str] = set()
        self._table = table or {}
        self._content: dict[str, bytes | Directory] = {}

    def channel(self, **options: Any) -> Channel:
        """A channel to the node without a socket."""
        endpoint = Endpoint(url="http://kubo.test:5001")
        return Channel(endpoint, name="IPFS node", transport=httpx.MockTransport(self._answer), **options)

    # Content

    def add(self, content: bytes) -> str:
        """Stores one file; returns its CID."""
        return self._store(content, codec=RAW, identity=content)

    def add_directory(self, files: Mapping[str, bytes]) -> str:
        """Stores a directory given as ``{"path/in/it": content}``; returns its CID."""
        below: dict[str, dict[str, bytes]] = {}
        entries: Directory = {}
        for path, content in files.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = content
            else:
                entries[name] = self.add(content)
        entries |= {name: self.add_directory(inner) for name, inner in below.items()}
        return self._store_directory(entries)

    def cat(self, path: str) -> bytes:
        """The content of a file: ``<cid>`` or ``<cid>/path/in/it``."""
        content = self._at(path)
        assert isinstance(content, bytes)
        return content

    def _store_directory(self, entries: Directory) -> str:
        entries = dict(sorted(entries.items()))
        return self._store(entries, codec=DAG_PB, identity=json.dumps(entries).encode())

    def _store(self, content: bytes | Directory, *, codec: int, identity: bytes) -> str:
        binary = bytes((1, codec)) + SHA2_256 + hashlib.sha256(identity).digest()
        cid = "b" + base64.b32encode(binary).decode().rstrip("=").lower()
        self._content[cid] = content
        return cid

    # Paths

    def _resolved(self, path: str) -> str:
        root, *names = path.removeprefix("/ipfs/").strip("/").split("/")
        cid = cids.canonical(root)
        for name in names:
            cid = self._entry(cid, name)
        return cid

    def _entry(self, cid: str, name: str) -> str:
        content = self._content.get(cid, {})
        if isinstance(content, bytes):
            raise Refusal('func called on wrong kind: "LookupBySegment" called on a bytes node (kind: bytes)')
        if name not in content:
            raise Refusal(f'no link named "{name}" under {cid}')
        return content[name]

    def _at(self, path: str) -> bytes | Directory:
        cid = self._resolved(path)
        if cid not in self._content:
            raise Refusal(f"block was not found locally (offline): ipld: could not find {cid}")
        return self._content[cid]

    # The API

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        command = request.url.path.removeprefix("/api/v0/")
        place = request.url.params.get("arg", command)
        self.requests.append(place)
        await asyncio.sleep(0)  # as over a network, others get their turn meanwhile
        await request.aread()
        if self.stranger:
            return httpx.Response(200, text="<html>Welcome</html>")
        try:
            if self.trouble:
                raise Refusal(self.trouble)
            return self._reply(command, place, request)
        except Refusal as refusal:
            return httpx.Response(500, json={"Message": str(refusal), "Code": 0, "Type": "error"})

    def _reply(self, command: str, place: str, request: httpx.Request) -> httpx.Response:
        match command:
            case "dag/resolve":
                cid = self._table.get(place) or self._resolved(place)
                return httpx.Response(200, json={"Cid": {"/": cid}, "RemPath": ""})
            case "ls":
                links = list(self._links(place))
                return httpx.Response(200, json={"Objects": [{"Hash": place, "Links": links}]})
            case "files/stat":
                return httpx.Response(200, json=self._stat(place))
            case "cat":
                return httpx.Response(200, content=self._part(place, request.url.params))
            case "dag/put":
                return httpx.Response(200, json={"Cid": {"/": self._put(request)}})
            case _:
                raise AssertionError(f"unknown command: {command}")

    def _links(self, place: str) -> Iterator[dict[str, Any]]:
        content = self._at(place)
        if isinstance(content, bytes):
            yield from [{"Name": "", "Type": FILE_TYPE}] * (len(content) // BYTES_OF_A_PART)
            return
        for name, cid in content.items():
            kind = DIRECTORY_TYPE if isinstance(self._content[cid], dict) else FILE_TYPE
            yield {"Name": name, "Hash": cid, "Size": 0, "Type": kind, "Target": ""}

    def _stat(self, place: str) -> dict[str, Any]:
        content = self._at(place)
        size = len(content) if isinstance(content, bytes) else 0
        return {"Size": size, "CumulativeSize": self._total(content)}

    def _total(self, content: bytes | Directory) -> int:
        if isinstance(content, bytes):
            return len(content)
        return sum(BYTES_OF_A_LINK + self._total(self._content[cid]) for cid in content.values())

    def _part(self, place: str, params: httpx.QueryParams) -> bytes:
        content = self._at(place)
        if isinstance(content, dict):
            raise Refusal("this dag node is a directory")
        start = int(params.get("offset", 0))
        return content[start : start + int(params.get("length", len(content)))]

    def _put(self, request: httpx.Request) -> str:
        """Store a directory that is given as the JSON of its block, in a form's file."""
        document = request.content.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 2)[0]
        links = json.loads(document)["Links"]
        cid = self._store_directory({link["Name"]: link["Hash"]["/"] for link in links})
        if request.url.params.get("pin") == "true":
            self.pinned.add(cid)
        return cid

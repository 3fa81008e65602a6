"""A Kubo RPC API in memory that resolves paths from a table, and makes directories, as Kubo 0.43 answers."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx

from controller.bacalhau.http import Channel, Endpoint

DIRECTORY = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
"""The CID of any directory that it is given."""


class FakeKubo:
    """The node. Set ``trouble`` to let it fail with that message, ``stranger`` to let it not be Kubo."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self.requests: list[str] = []
        self.made: list[Any] = []
        """The directories that it was given, as dag-json."""
        self.trouble = ""
        self.stranger = False
        self._table = table

    def channel(self, **options: Any) -> Channel:
        """A channel to the node without a socket."""
        endpoint = Endpoint(url="http://kubo.test:5001")
        return Channel(endpoint, name="IPFS node", transport=httpx.MockTransport(self._answer), **options)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        command = request.url.path.removeprefix("/api/v0/")
        place = request.url.params.get("arg", command)
        self.requests.append(place)
        await asyncio.sleep(0)  # as over a network, others get their turn meanwhile
        if self.stranger:
            return httpx.Response(200, text="<html>Welcome</html>")
        if self.trouble:
            return httpx.Response(500, json={"Message": self.trouble, "Code": 0, "Type": "error"})
        if command == "files/stat":
            return httpx.Response(200, json={"CumulativeSize": 10})
        if command == "dag/put":
            self.made.append(_node_in(await request.aread()))
            return httpx.Response(200, json={"Cid": {"/": DIRECTORY}})
        if place not in self._table:
            name = place.rpartition("/")[2]
            message = f'no link named "{name}" under {place.partition("/")[0]}'
            return httpx.Response(500, json={"Message": message, "Code": 0, "Type": "error"})
        return httpx.Response(200, json={"Cid": {"/": self._table[place]}, "RemPath": ""})


def _node_in(form: bytes) -> Any:
    """Find the JSON in an upload."""
    return json.loads(form[form.index(b"{") : form.rindex(b"}") + 1])

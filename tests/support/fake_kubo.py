"""A Kubo RPC API in memory that resolves paths from a table, as Kubo 0.43 answers."""

from collections.abc import Mapping
from typing import Any

import httpx

from controller.bacalhau.http import Channel, Endpoint


class FakeKubo:
    """The node. Set ``trouble`` to let it fail with that message, ``stranger`` to let it not be Kubo."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self.requests: list[str] = []
        self.trouble = ""
        self.stranger = False
        self._table = table

    def channel(self, **options: Any) -> Channel:
        """A channel to the node without a socket."""
        endpoint = Endpoint(url="http://kubo.test:5001")
        return Channel(endpoint, name="IPFS node", transport=httpx.MockTransport(self._answer), **options)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        place = request.url.params["arg"]
        self.requests.append(place)
        if self.stranger:
            return httpx.Response(200, text="<html>Welcome</html>")
        if self.trouble:
            return httpx.Response(500, json={"Message": self.trouble, "Code": 0, "Type": "error"})
        if place not in self._table:
            name = place.rpartition("/")[2]
            message = f'no link named "{name}" under {place.partition("/")[0]}'
            return httpx.Response(500, json={"Message": message, "Code": 0, "Type": "error"})
        return httpx.Response(200, json={"Cid": {"/": self._table[place]}, "RemPath": ""})

"""The few questions that the operator asks an IPFS node through Kubo's RPC API."""

import json
from collections import OrderedDict
from typing import Any

from controller.bacalhau.errors import InputUnresolved, ServerError, UnexpectedAnswer
from controller.bacalhau.http import Answer, Channel, Params

__all__ = ["IpfsApi"]

REMEMBERED = 4096

NO_SUCH_ENTRY = ("no link named", "no link by that name", "called on wrong kind")
"""What Kubo says of a path that leads nowhere; the last one when it leads on below a file."""


class IpfsApi:
    """Kubo's RPC API of a node in the same swarm as the compute nodes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._known: OrderedDict[str, str] = OrderedDict()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._channel.aclose()

    async def resolve(self, cid: str, path: str) -> str:
        """The CID of what lies at the path inside the directory ``cid``. Asked once: content never changes.

        Raises:
            InputUnresolved: the directory has no such entry.
            Transient: the node cannot say now.
        """
        place = f"{cid}/{path.strip('/')}"
        if place not in self._known:
            self._remember(place, await self._ask(place))
        self._known.move_to_end(place)
        return self._known[place]

    async def tail(self, cid: str, path: str, *, size: int) -> str:
        """The last so many bytes of a file inside the directory ``cid``, as text.

        Raises:
            InputUnresolved: the directory has no such entry.
            Transient: the node cannot say now.
        """
        place = f"{cid}/{path}"
        stat = _json(await self._successful(place, "files/stat", {"arg": f"/ipfs/{place}"}))
        offset = max(int(stat.get("Size") or 0) - size, 0)
        content = await self._successful(place, "cat", {"arg": place, "offset": offset, "length": size})
        return content.decode(errors="replace")

    def _remember(self, place: str, cid: str) -> None:
        self._known[place] = cid
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    async def _ask(self, place: str) -> str:
        return self._resolved(place, await self._successful(place, "dag/resolve", {"arg": place}))

    async def _successful(self, place: str, command: str, params: Params) -> bytes:
        operation = command.rpartition("/")[2]
        answer = await self._channel.request("POST", f"api/v0/{command}", operation=operation, params=params)
        if answer.status == 200:
            return answer.body
        raise self._failure(place, answer)

    def _resolved(self, place: str, body: bytes) -> str:
        reply = _json(body)
        try:
            cid, remainder = reply["Cid"]["/"], reply.get("RemPath", "")
        except (KeyError, TypeError) as error:
            raise UnexpectedAnswer(
                f"{self._channel} did not answer as Kubo's RPC API does. "
                "Check spec.ipfs.apiURL of the BacalhauConnection."
            ) from error
        if remainder:
            raise _missing(place)
        return str(cid)

    def _failure(self, place: str, answer: Answer) -> Exception:
        reply = _json(answer.body)
        said = str(reply.get("Message", "")) or f"HTTP {answer.status}"
        if any(phrase in said for phrase in NO_SUCH_ENTRY):
            return _missing(place)
        return ServerError(f"{self._channel} cannot read the path: {place}. It says: {said}.")


def _missing(place: str) -> InputUnresolved:
    cid, _, path = place.partition("/")
    return InputUnresolved(
        f"The result {cid} on IPFS has no entry: {path}. "
        "Check the path against the job's ResultPaths; published files lie in a directory named by the ResultPath."
    )


def _json(body: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(body)
    except ValueError:
        return {}
    return reply if isinstance(reply, dict) else {}

"""The few questions that the operator asks an IPFS node through Kubo's RPC API."""

import asyncio
import base64
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from controller.bacalhau.concurrency import together
from controller.bacalhau.errors import InputUnresolved, ServerError, UnexpectedAnswer
from controller.bacalhau.http import Answer, Channel, Params

__all__ = ["MAX_AT_ONCE", "IpfsApi"]

REMEMBERED = 4096
"""Answers of one kind."""

MAX_AT_ONCE = 4
"""Questions that one job with many inputs may have under way, so that one whose inputs cannot be found leaves others their connections."""

NO_SUCH_ENTRY = ("no link named", "no link by that name", "called on wrong kind")
"""What Kubo says of a path that leads nowhere; the last one when it leads on below a file."""

DIRECTORY = 1
"""Kubo's number for the type of an entry."""

UNIXFS_DIRECTORY = base64.b64encode(b"\x08\x01").decode().rstrip("=")
"""What the block of a UnixFS directory holds beside its links: ``Type: Directory``."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a directory."""

    name: str
    is_directory: bool


class _Answers(Generic[T]):
    """The latest answers of one kind. None is ever out of date: what lies under a CID never changes."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, T] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def to(self, question: str, ask: Callable[[str], Awaitable[T]]) -> T:
        """Give the answer to a question, and ask if it is not known. Who wants to know the same meanwhile waits for it."""
        async with self._locks.setdefault(question, asyncio.Lock()):
            if question not in self._known:
                self._known[question] = await ask(question)
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            self._known.move_to_end(question)
            return self._known[question]


class IpfsApi:
    """Kubo's RPC API of a node in the same swarm as the compute nodes."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._parts: _Answers[str] = _Answers()
        self._sizes: _Answers[int] = _Answers()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._channel.aclose()

    async def resolve(self, cid: str, path: str) -> str:
        """The CID of what lies at the path inside the directory ``cid``.

        Raises:
            InputUnresolved: the directory has no such entry.
            Transient: the node cannot say now.
        """
        return await self._parts.to(f"{cid}/{path.strip('/')}", self._ask)

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

    async def list(self, path: str) -> list[Entry]:
        """The entries of the directory that lies at a path such as ``<cid>/outputs``.

        Raises:
            InputUnresolved: there is nothing at the path.
            Transient: the node cannot say now.
        """
        reply = _json(await self._successful(path, "ls", {"arg": f"/ipfs/{path}", "size": "false"}))
        try:
            links = reply["Objects"][0]["Links"] or []
            return [Entry(link["Name"], link["Type"] == DIRECTORY) for link in links]
        except (KeyError, IndexError, TypeError) as error:
            raise self._stranger() from error

    async def bundle(self, entries: Mapping[str, str]) -> str:
        """The CID of a directory with these CIDs under these names. The node keeps it, and all that is in it.

        Raises:
            Transient: the node cannot say now.
        """
        sizes = await self._sizes_of(set(entries.values()))
        links = [{"Hash": {"/": cid}, "Name": name, "Tsize": sizes[cid]} for name, cid in entries.items()]
        node = {
            "Data": {"/": {"bytes": UNIXFS_DIRECTORY}},
            "Links": sorted(links, key=lambda link: str(link["Name"]).encode()),
        }
        params = {"input-codec": "dag-json", "store-codec": "dag-pb", "pin": "true"}
        answer = await self._successful(
            "a new directory", "dag/put", params, upload=json.dumps(node).encode()
        )
        try:
            return str(_json(answer)["Cid"]["/"])
        except (KeyError, TypeError) as error:
            raise self._stranger() from error

    async def _sizes_of(self, cids: Collection[str]) -> dict[str, int]:
        """The sizes that links to these CIDs state."""
        places = asyncio.Semaphore(MAX_AT_ONCE)

        async def size(cid: str) -> int:
            async with places:
                return await self._sizes.to(cid, self._size)

        sizes = await together(size(cid) for cid in cids)
        return dict(zip(cids, sizes, strict=True))

    async def _size(self, cid: str) -> int:
        """The bytes of all blocks below a CID."""
        stat = _json(await self._successful(cid, "files/stat", {"arg": f"/ipfs/{cid}"}))
        return int(stat.get("CumulativeSize") or 0)

    async def _ask(self, place: str) -> str:
        return self._resolved(place, await self._successful(place, "dag/resolve", {"arg": place}))

    async def _successful(
        self, place: str, command: str, params: Params, *, upload: bytes | None = None
    ) -> bytes:
        operation = command.rpartition("/")[2]
        answer = await self._channel.request(
            "POST", f"api/v0/{command}", operation=operation, params=params, upload=upload
        )
        if answer.status == 200:
            return answer.body
        raise self._failure(place, answer)

    def _resolved(self, place: str, body: bytes) -> str:
        reply = _json(body)
        try:
            cid, remainder = reply["Cid"]["/"], reply.get("RemPath", "")
        except (KeyError, TypeError) as error:
            raise self._stranger() from error
        if remainder:
            raise _missing(place)
        return str(cid)

    def _stranger(self) -> UnexpectedAnswer:
        return UnexpectedAnswer(
            f"{self._channel} did not answer as Kubo's RPC API does. "
            "Check spec.ipfs.apiURL of the BacalhauConnection."
        )

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

"""All connections that are in use, by namespace and name, and the DAGs that use or wait for each.

A DAG never sees a connection's URL or credentials: it asks for the connection that its spec names, and gets it or the reason why not.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

from pydantic import ValidationError

from controller.api.connection import BacalhauConnection
from controller.kube.errors import Gone
from controller.kube.objects import ObjectRef, Objects
from controller.reconciler.access import ReadSecret, Unresolved, resolve
from controller.reconciler.connection import Access, Connection, Key, Problem
from controller.reconciler.resources import CONNECTIONS


class ConnectionPool:
    """The connections in use.

    Args:
        objects: reads BacalhauConnections.
        read_secret: reads what they refer to.
        wake: called with the key of each DAG that has to look again.
        recheck: called with the key of a connection that may have stopped working, or work again.
    """

    def __init__(
        self,
        objects: Objects,
        read_secret: ReadSecret,
        *,
        wake: Callable[[Key], None],
        recheck: Callable[[Key], None],
    ) -> None:
        self._objects = objects
        self._read_secret = read_secret
        self._wake = wake
        self._recheck = recheck
        self._connections: dict[Key, Connection] = {}
        self._unresolved: set[Key] = set()
        self._users: defaultdict[Key, set[Key]] = defaultdict(set)
        self._used_by: dict[Key, Key] = {}
        self._locks: defaultdict[Hashable, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def require(self, key: Key, *, user: Key) -> Connection:
        """Give the connection of this name for a DAG, which is woken whenever the connection changes.

        Raises:
            Unresolved: it does not exist, or refers to something that does not.
            KubeError: the API server could not be asked.
        """
        if self._used_by.get(user, key) != key:
            self.forget_user(user)
        self._used_by[user] = key
        self._users[key].add(user)
        if key in self._connections and key not in self._unresolved:
            return self._connections[key]
        return await self.refresh(key)

    def forget_user(self, user: Key) -> None:
        """Stop waking a DAG that has ended. The last one of a connection that is gone has it closed."""
        key = self._used_by.pop(user, None)
        if key is None:
            return
        self._users[key].discard(user)
        if not self._users[key]:
            del self._users[key]
            if key in self._unresolved:
                self._recheck(key)

    def recheck_for(self, user: Key) -> None:
        """Have the connection that a DAG waits for checked soon."""
        if key := self._used_by.get(user):
            self._recheck(key)

    async def refresh(self, key: Key) -> Connection:
        """Read the resource and its Secrets again, and go on with what they say now.

        While they cannot be read, runs in progress go on with what they have: a namespace that is being deleted loses its Secrets
        before its jobs are stopped. No new run starts with it, since it may be what the connection was meant to turn away from.

        Raises:
            Unresolved: the connection does not exist any more, or refers to something that does not.
            KubeError: the API server could not be asked.
        """
        async with self._locks[key]:
            access = await self._resolved(key)
            if key in self._connections:
                await self._connections[key].renew(access)
            else:
                self._connections[key] = Connection(
                    key,
                    access,
                    on_change=partial(self._changed, key),
                    recheck=partial(self._recheck, key),
                )
                self.wake_users(key)
            return self._connections[key]

    async def _resolved(self, key: Key) -> Access:
        try:
            access = await resolve(await self._read(key), self._read_secret)
        except Unresolved as error:
            self._unresolved.add(key)
            if connection := self._connections.get(key):
                connection.report(error.problem)
            raise
        self._unresolved.discard(key)
        return access

    async def drop(self, key: Key) -> None:
        """Give up a connection whose resource is gone: at once for new runs, and for good once no DAG uses it."""
        async with self._locks[key]:
            self._unresolved.add(key)
            self.wake_users(key)
            if key not in self._users:
                self._unresolved.discard(key)
                if connection := self._connections.pop(key, None):
                    await connection.aclose()

    def wake_users(self, key: Key) -> None:
        """Have every DAG of a connection look again."""
        for user in self._users.get(key, ()):
            self._wake(user)

    def _changed(self, key: Key) -> None:
        self._recheck(key)
        self.wake_users(key)

    async def aclose(self) -> None:
        """Close all connections."""
        while self._connections:
            _, connection = self._connections.popitem()
            await connection.aclose()

    async def _read(self, key: Key) -> BacalhauConnection:
        namespace, name = key
        try:
            body = await self._objects.get(ObjectRef(CONNECTIONS, namespace, name))
        except Gone:
            raise Unresolved(
                Problem(
                    "ConnectionNotFound",
                    f'There is no BacalhauConnection "{name}" in namespace "{namespace}"; create it, '
                    "or name another one in spec.connectionRef.name.",
                )
            ) from None
        return parse_connection(body)


def parse_connection(body: dict[str, Any]) -> BacalhauConnection:
    """Read a BacalhauConnection as the API server stores it.

    Raises:
        Unresolved: it does not follow the schema.
    """
    try:
        return BacalhauConnection.model_validate(body)
    except ValidationError as error:
        raise Unresolved(
            Problem("InvalidConnection", f"The BacalhauConnection is not valid: {error}")
        ) from None

"""Stands between a client and a server, to see each request just before it arrives and just before its answer leaves.

These are the moments at which a crash hurts most: a job is submitted, but nobody has heard of it yet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import aiohttp
from aiohttp import web

from dev.servers.process import free_port


@dataclass(frozen=True)
class Moment:
    """One point in the life of a request."""

    method: str
    when: Literal["before it arrives", "before its answer"]


class Interposer:
    """A proxy at `url` that awaits `on_moment` twice for each request, whether or not the client is still there."""

    def __init__(self, upstream: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self.on_moment: Callable[[Moment], Awaitable[None]] = _go_on
        self._upstream = upstream

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Pass requests on for as long as the context lasts."""
        async with aiohttp.ClientSession(self._upstream) as session:
            application = web.Application(client_max_size=2**24)
            application.router.add_route("*", "/{path:.*}", partial(self._pass_on, session))
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", int(self.url.rpartition(":")[2])).start()
            try:
                yield
            finally:
                await runner.cleanup()

    async def _pass_on(self, session: aiohttp.ClientSession, request: web.Request) -> web.Response:
        body = await request.read()
        await self.on_moment(Moment(request.method, "before it arrives"))
        headers = {"Content-Type": request.content_type} if body else {}
        async with session.request(request.method, request.rel_url, data=body, headers=headers) as answer:
            content = await answer.read()
        await self.on_moment(Moment(request.method, "before its answer"))
        return web.Response(status=answer.status, body=content, content_type=answer.content_type)


async def _go_on(moment: Moment) -> None:
    """Let the request pass."""

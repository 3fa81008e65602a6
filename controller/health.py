"""Probes and metrics over HTTP: ``/healthz``, ``/readyz``, ``/metrics``.

``/healthz`` asks whether a restart would help, and so looks at signs of life, not at how much there is to do: each
part of the operator tells when it was last seen alive, and how long a silence is acceptable. Whether the event loop
is alive shows by the answer coming at all. ``/readyz`` asks whether this process has started up.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web
from typing_extensions import override

from controller import metrics


class Pulse:
    """The last sign of life of one part, for parts that cannot tell their age themselves."""

    def __init__(self) -> None:
        self._last = _now()

    def beat(self) -> None:
        """Give a sign of life."""
        self._last = _now()

    def age(self) -> float:
        """Seconds since the last sign of life."""
        return _now() - self._last


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    silent_for: Callable[[], float]
    limit: float

    @property
    def alive(self) -> bool:
        return self.silent_for() <= self.limit

    @override
    def __str__(self) -> str:
        state = "ok" if self.alive else f"no sign of life for {self.silent_for():.0f} s"
        return f"{self.name}: {state} (limit {self.limit:.0f} s)"


class Health:
    """What is known about the state of this process."""

    def __init__(self) -> None:
        self.not_ready_because: str | None = "starting"
        """Why this process is not ready, or None once it is."""
        self._parts: list[_Part] = []

    def watch(self, name: str, silent_for: Callable[[], float], *, limit: float) -> None:
        """Count a part as alive as long as ``silent_for()`` is at most ``limit``, both in seconds."""
        self._parts.append(_Part(name, silent_for, limit))

    def pulse(self, name: str, *, limit: float) -> Pulse:
        """Watch a part that is alive as long as its pulse beats at least every ``limit`` seconds."""
        pulse = Pulse()
        self.watch(name, pulse.age, limit=limit)
        return pulse

    @property
    def alive(self) -> bool:
        """Whether every part has given a sign of life in time."""
        return all(part.alive for part in self._parts)

    def report(self) -> str:
        """A line for each part."""
        return "\n".join([*map(str, self._parts), "alive" if self.alive else "not alive"])


@asynccontextmanager
async def serving(health: Health, *, address: str, port: int) -> AsyncIterator[int]:
    """Serve probes and metrics as long as the context lasts; gives the port.

    Raises ``OSError`` if the port is taken.
    """
    runner = web.AppRunner(_application(health), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _application(health: Health) -> web.Application:
    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text=health.report() + "\n", status=200 if health.alive else 503)

    async def readyz(_: web.Request) -> web.Response:
        if health.not_ready_because is None:
            return web.Response(text="ready\n")
        return web.Response(text=f"not ready: {health.not_ready_because}\n", status=503)

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": metrics.CONTENT_TYPE})

    application = web.Application()
    application.add_routes(
        [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", exposition)]
    )
    return application


def _now() -> float:
    return asyncio.get_running_loop().time()

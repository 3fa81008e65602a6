"""A bounded, counted HTTP channel to one server: the only module that touches httpx.

Everything a hostile or broken server could do to the operator is limited here: redirects are not followed (they
would carry credentials elsewhere), cookies are not kept, answers are read in pieces up to a cap, and a request has a
deadline from its first to its last byte. The engine is aiohttp behind httpx's transport API, without httpx's client
in between: what the client adds is what is not wanted here, and it costs as much CPU time as all the rest.

A failed connection says nothing about whether a request was carried out: aiohttp itself repeats an idempotent
request (PUT and DELETE among them) when a kept-alive connection turns out to be closed. So every failure is
``Unreachable`` and callers look at the world again before they act.
"""

import asyncio
import base64
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlencode, urlsplit, urlunsplit

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from typing_extensions import override

from controller.bacalhau.errors import AnswerTooLarge, Refused, UnexpectedAnswer, Unreachable

__all__ = ["Answer", "Basic", "Bearer", "Channel", "Endpoint", "Exchange", "Traffic"]

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_CONNECTIONS = 64
KEEP_ALIVE_SECONDS = 30.0
CONNECT_SECONDS = 5.0
TIMEOUT_SECONDS = 40.0
"""Longer than the 30 s after which Bacalhau itself gives a request up, so that its answer is heard."""

QUESTION_SECONDS = 15.0
"""A GET takes milliseconds; one that does not is better asked again."""

JSON = {"Content-Type": "application/json"}

Params = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Bearer:
    """An API key or an access token."""

    token: str = field(repr=False)

    def header(self) -> str:
        """The value of the Authorization header."""
        return f"Bearer {self.token}"


@dataclass(frozen=True, slots=True)
class Basic:
    """A user and a password."""

    username: str
    password: str = field(repr=False)

    def header(self) -> str:
        """The value of the Authorization header."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode('ascii')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address, and how to be let in and know that it is the right one.

    ``ca`` is PEM text that replaces the system's authorities; ``insecure`` accepts any certificate.
    """

    url: str
    auth: Bearer | Basic | None = None
    ca: str | None = field(default=None, repr=False)
    insecure: bool = False

    @override
    def __str__(self) -> str:
        """The address as a person may see it: without user, password and query."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))

    def ssl_context(self) -> ssl.SSLContext | bool:
        """How certificates are checked, for the HTTP library.

        Raises:
            Refused: ``ca`` holds no certificate.
        """
        if not self.url.startswith("https:"):
            return True  # nothing to check; loading the system's authorities takes 10 ms or more
        try:
            context = ssl.create_default_context(cadata=self.ca)
        except (ssl.SSLError, ValueError) as error:
            raise Refused(
                f"The certificate authority for {self} cannot be read: {_reason(error)}. "
                "Put a certificate in PEM format under the key that spec.tls.caSecretRef names."
            ) from error
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what became of it. ``status`` is None where no complete answer arrived."""

    operation: str
    status: int | None
    seconds: float
    sent: int
    received: int


@dataclass(slots=True)
class Traffic:
    """How much was said so far: requests, those without an answer, and bytes of bodies each way."""

    requests: int = 0
    unanswered: int = 0
    sent: int = 0
    received: int = 0

    def add(self, exchange: Exchange) -> None:
        """Count one exchange."""
        self.requests += 1
        self.unanswered += exchange.status is None
        self.sent += exchange.sent
        self.received += exchange.received


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of any status."""

    status: int
    body: bytes


class Channel:
    """Requests to one endpoint, each within a deadline and a size.

    ``observe`` is told of every exchange (for metrics). ``timeout`` (seconds) replaces what suits the method, and
    ``transport`` the network, in tests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        name: str = "Bacalhau",
        timeout: float | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        observe: Callable[[Exchange], None] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.name = name
        self.traffic = Traffic()
        self._timeout = timeout
        self._max_answer_bytes = max_answer_bytes
        self._observe = observe
        self._base = str(endpoint)
        self._headers = _headers(endpoint)
        self._extensions = {"timeout": httpx.Timeout(TIMEOUT_SECONDS, connect=CONNECT_SECONDS).as_dict()}
        self._transport = transport or _transport(endpoint)
        self._closed = False

    @override
    def __str__(self) -> str:
        return f"{self.name} at {self.endpoint}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections. Requests under way, and later ones, fail as if the network had."""
        self._closed = True
        await self._transport.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        params: Params | None = None,
        body: bytes | None = None,
        upload: bytes | None = None,
    ) -> Answer:
        """Send a request and read the whole answer, whatever its status. ``body`` is JSON; ``upload`` is sent as a form's file.

        Raises:
            Unreachable: no complete answer within the time limit.
            UnexpectedAnswer: a redirect.
            AnswerTooLarge: an answer above the size limit.
        """
        query = f"?{urlencode(params)}" if params else ""
        request = httpx.Request(
            method,
            f"{self._base}/{path.lstrip('/')}{query}",
            headers=self._headers if body is None else self._headers | JSON,
            content=body,
            files=None if upload is None else {"file": upload},
            extensions=self._extensions,
        )
        return await self._counted(request, operation=operation, sent=len(body or upload or b""))

    async def _counted(self, request: httpx.Request, *, operation: str, sent: int) -> Answer:
        started = time.monotonic()
        body = bytearray()
        status: int | None = None
        try:
            status = await self._exchange(request, body)
        finally:
            self._count(Exchange(operation, status, time.monotonic() - started, sent, len(body)))
        return self._answer(status, bytes(body))

    async def _exchange(self, request: httpx.Request, body: bytearray) -> int:
        seconds = self._timeout or (QUESTION_SECONDS if request.method == "GET" else TIMEOUT_SECONDS)
        try:
            async with asyncio.timeout(seconds):
                return await self._read(request, body)
        except TimeoutError as error:
            raise Unreachable(
                f"{self} did not answer within {seconds:g} seconds. "
                "Check that the server is healthy and not overloaded."
            ) from error
        except (httpx.HTTPError, aiohttp.ClientError, OSError) as error:
            raise Unreachable(
                f"{self} cannot be reached: {_reason(error)}. Check the address, the network and that the server runs."
            ) from error

    async def _read(self, request: httpx.Request, body: bytearray) -> int:
        """Read the answer into ``body`` and return its status."""
        if self._closed:
            raise Unreachable(f"{self} is not connected any more: the credentials or the address changed.")
        response = await self._transport.handle_async_request(request)
        try:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > self._max_answer_bytes:
                    raise AnswerTooLarge(
                        f"{self} answered with more than {self._max_answer_bytes} bytes, more than the operator reads."
                    )
            return response.status_code
        finally:
            await response.aclose()

    def _answer(self, status: int, body: bytes) -> Answer:
        if 300 <= status < 400:
            raise UnexpectedAnswer(
                f"{self} answered with a redirect (HTTP {status}), which the operator does not follow. "
                "Give the address to which it redirects."
            )
        return Answer(status, body)

    def _count(self, exchange: Exchange) -> None:
        self.traffic.add(exchange)
        if self._observe is not None:
            self._observe(exchange)


def _headers(endpoint: Endpoint) -> dict[str, str]:
    """Headers of every request. Answers are asked for uncompressed: the server is near, and a cap is then a cap."""
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "bacalhau-dag-operator",
    }
    if endpoint.auth is not None:
        headers["Authorization"] = endpoint.auth.header()
    return headers


def _transport(endpoint: Endpoint) -> httpx.AsyncBaseTransport:
    """A transport over a session of our own; what it would need to make one itself (``verify``) is not used."""
    return AiohttpTransport(client=lambda: _session(endpoint), verify=False, trust_env=False)


def _session(endpoint: Endpoint) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=endpoint.ssl_context()
    )
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _reason(error: BaseException) -> str:
    """What the library says, or at least the kind of its error."""
    return (str(error) or type(error).__name__).rstrip(".")

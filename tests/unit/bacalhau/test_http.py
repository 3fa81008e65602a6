"""The channel over a real socket: what it sends, and what a broken or hostile server cannot do to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from controller.bacalhau.errors import AnswerTooLarge, Refused, UnexpectedAnswer, Unreachable
from controller.bacalhau.http import Basic, Bearer, Channel, Endpoint, Exchange

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """The address of a server that answers everything by the handler."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def echo(request: web.Request) -> web.Response:
    """Say what was asked."""
    body = await request.text()
    return web.json_response(
        {"path": request.path_qs, "headers": {k.lower(): v for k, v in request.headers.items()}, "body": body}
    )


async def test_a_body_travels_with_its_length_and_the_credentials() -> None:
    async with served(echo) as url, Channel(Endpoint(url=url, auth=Bearer("secret"))) as channel:
        answer = await channel.request("PUT", "a/b", operation="submit", body=b'{"x":1}')
    said = answer.body.decode()
    assert answer.status == 200
    assert '"content-length": "7"' in said
    assert '"authorization": "Bearer secret"' in said
    assert '"content-type": "application/json"' in said
    assert "transfer-encoding" not in said


async def test_basic_credentials() -> None:
    async with served(echo) as url, Channel(Endpoint(url=url, auth=Basic("ann", "pässword"))) as channel:
        answer = await channel.request("GET", "a", operation="get")
    assert b'"authorization": "Basic YW5uOnDDpHNzd29yZA=="' in answer.body


async def test_the_endpoints_path_is_kept_and_parameters_are_quoted() -> None:
    async with served(echo) as url, Channel(Endpoint(url=url + "/lab/")) as channel:
        answer = await channel.request("GET", "/a", operation="get", params={"arg": "x/y z"})
    assert b'"path": "/lab/a?arg=x/y+z"' in answer.body


async def test_redirects_are_not_followed() -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/")

    async with served(elsewhere) as url, Channel(Endpoint(url=url)) as channel:
        with pytest.raises(UnexpectedAnswer, match="redirect"):
            await channel.request("GET", "a", operation="get")


async def test_an_endless_answer_is_cut_off() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 1000)

    async with served(endless) as url, Channel(Endpoint(url=url), max_answer_bytes=100_000) as channel:
        with pytest.raises(AnswerTooLarge, match="more than 100000 bytes"):
            await channel.request("GET", "a", operation="list")


async def test_an_answer_that_trickles_meets_the_deadline() -> None:
    released = asyncio.Event()

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while not released.is_set():
            await response.write(b"x")
            await asyncio.sleep(0.01)
        return response

    async with served(trickle) as url, Channel(Endpoint(url=url), timeout=0.2) as channel:
        with pytest.raises(Unreachable, match=r"did not answer within 0\.2 seconds"):
            await channel.request("GET", "a", operation="get")
        released.set()


async def test_a_connection_cut_short_is_unreachable() -> None:
    async def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with served(cut) as url, Channel(Endpoint(url=url)) as channel:
        with pytest.raises(Unreachable, match=url):
            await channel.request("PUT", "a", operation="submit", body=b"{}")


async def test_nobody_there_is_unreachable_and_named_without_credentials() -> None:
    async with Channel(Endpoint(url="http://ann:secret@127.0.0.1:1")) as channel:
        with pytest.raises(
            Unreachable, match=r"Bacalhau at http://127\.0\.0\.1:1 cannot be reached"
        ) as caught:
            await channel.request("GET", "a", operation="get")
    assert "secret" not in str(caught.value)


async def test_something_that_is_not_http_is_unreachable() -> None:
    async def gibberish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(gibberish, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Channel(Endpoint(url=f"http://127.0.0.1:{port}")) as channel:
        with pytest.raises(Unreachable):
            await channel.request("GET", "a", operation="get")


async def test_closing_ends_requests_under_way_and_later_ones() -> None:
    arrived, released = asyncio.Event(), asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        arrived.set()
        await released.wait()
        return web.Response()

    async with served(wait) as url:
        channel = Channel(Endpoint(url=url))
        under_way = asyncio.create_task(channel.request("GET", "a", operation="get"))
        await arrived.wait()
        await channel.aclose()
        with pytest.raises(Unreachable):
            await under_way
        with pytest.raises(Unreachable, match="not connected any more"):
            await channel.request("GET", "a", operation="get")
        released.set()


async def test_cookies_are_not_kept() -> None:
    async def sticky(request: web.Request) -> web.Response:
        response = await echo(request)
        response.set_cookie("session", "abc")
        return response

    async with served(sticky) as url, Channel(Endpoint(url=url.replace("127.0.0.1", "localhost"))) as channel:
        await channel.request("GET", "a", operation="get")
        answer = await channel.request("GET", "a", operation="get")
    assert b"cookie" not in answer.body


async def test_traffic_is_counted_and_observed() -> None:
    seen: list[Exchange] = []
    async with served(echo) as url, Channel(Endpoint(url=url), observe=seen.append) as channel:
        answer = await channel.request("PUT", "a", operation="submit", body=b"12345")
        assert channel.traffic.requests == 1
        assert channel.traffic.unanswered == 0
        assert channel.traffic.sent == 5
        assert channel.traffic.received == len(answer.body)
    (exchange,) = seen
    assert (exchange.operation, exchange.status, exchange.sent) == ("submit", 200, 5)


async def test_a_failure_is_counted_as_unanswered() -> None:
    async with Channel(Endpoint(url="http://127.0.0.1:1")) as channel:
        with pytest.raises(Unreachable):
            await channel.request("GET", "a", operation="get")
        assert (channel.traffic.requests, channel.traffic.unanswered) == (1, 1)


async def test_an_authority_that_cannot_be_read_comes_with_advice() -> None:
    async with Channel(Endpoint(url="https://127.0.0.1:1", ca="not a certificate")) as channel:
        with pytest.raises(Refused, match=r"spec\.tls\.caSecretRef"):
            await channel.request("GET", "a", operation="get")


def test_secrets_are_not_shown() -> None:
    shown = f"{Endpoint(url='https://h', auth=Bearer('s3cret'), ca='PEM')!r} {Basic('ann', 's3cret')!r}"
    assert "s3cret" not in shown
    assert "PEM" not in shown

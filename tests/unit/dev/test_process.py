"""What holds for every server, tried on small programs."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from typing_extensions import override

from dev.servers import process
from dev.servers.process import Server, ServerError, free_port, loopback_client, wait_until

ANSWERS = """
    import http.server, os, signal, sys
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(str(sorted(os.environ)).encode())
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
STUBBORN = "    import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + ANSWERS
BROKEN = """
    print("the disk is on fire", flush=True)
    raise SystemExit(3)
"""
SILENT = """
    print("thinking", flush=True)
    import time; time.sleep(600)
"""


class Program(Server):
    """A server whose program is a Python text."""

    name = "program"
    stop_timeout = 0.5

    def __init__(self, directory: Path, text: str) -> None:
        super().__init__(directory)
        self._text = textwrap.dedent(text)
        self._port = free_port()
        self._http = loopback_client(self.url)

    @property
    @override
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @override
    def command(self) -> list[str]:
        return [sys.executable, "-c", self._text, str(self._port)]

    @override
    def ready(self) -> bool:
        return self._http.get("/").status_code == 200


Start = Callable[[str], Program]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Start]:
    """Makes servers that end with the test."""
    made: list[Program] = []

    def make(text: str) -> Program:
        made.append(Program(tmp_path / str(len(made)), text))
        return made[-1]

    yield make
    for server in made:
        server.kill()


def test_it_answers_when_start_returns(program: Start) -> None:
    server = program(ANSWERS)
    server.start()
    assert server.running
    assert server.healthy
    assert httpx.get(server.url).status_code == 200


def test_it_comes_back_at_the_same_address_as_another_process(program: Start) -> None:
    server = program(ANSWERS)
    server.start()
    first, url = server.pid, server.url
    server.restart()
    assert server.healthy
    assert server.url == url
    assert server.pid not in {None, first}


def test_starting_twice_is_starting_once(program: Start) -> None:
    server = program(ANSWERS)
    server.start()
    first = server.pid
    server.start()
    assert server.pid == first


@pytest.mark.parametrize("end", [Server.stop, Server.kill])
def test_it_has_ended_when_stop_or_kill_returns(program: Start, end: Callable[[Server], None]) -> None:
    server = program(ANSWERS)
    server.start()
    end(server)
    assert not server.running
    assert not server.healthy
    assert server.pid is None


def test_one_that_will_not_end_is_killed(program: Start) -> None:
    server = program(STUBBORN)
    server.start()
    server.stop()
    assert not server.running


def test_ending_what_never_started_is_nothing(program: Start) -> None:
    server = program(ANSWERS)
    server.stop()
    server.kill()
    assert not server.running


def test_one_that_ends_while_it_starts_shows_its_log(program: Start) -> None:
    with pytest.raises(ServerError, match=r"program ended while it started(.|\n)*the disk is on fire"):
        program(BROKEN).start()


def test_one_that_does_not_answer_is_ended_and_shows_its_log(
    program: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "STARTUP_TIMEOUT", 1.0)
    server = program(SILENT)
    with pytest.raises(ServerError, match=r"Waited 1 s for program to be ready(.|\n)*thinking"):
        server.start()
    assert not server.running


def test_the_users_proxies_and_credentials_do_not_reach_it(
    program: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "AWS_SECRET_ACCESS_KEY", "KUBECONFIG"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server = program(ANSWERS)
    server.start()
    seen = loopback_client(server.url).get("/").text
    assert "HOME" in seen
    assert not any(name in seen for name in ("HTTP_PROXY", "AWS_SECRET_ACCESS_KEY", "KUBECONFIG"))


def test_ports_are_given_out_once() -> None:
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)


def test_waiting_ends_with_a_reason() -> None:
    with pytest.raises(ServerError, match=r"Waited 0 s for a miracle\. None came\."):
        wait_until(lambda: False, what="a miracle", timeout=0.01, on_timeout=lambda: "None came.")

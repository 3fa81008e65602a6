"""One server process: started, watched until it answers, stopped, killed, started again with the same data and ports.

A server is launched by a thread that lives as long as this process, whatever thread asks for it: Linux ties the life of
a child to the *thread* that made it. It gets an environment of its own, without the user's proxies and credentials, and
a session of its own, so that Ctrl-C reaches only the process that owns it.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

STARTUP_TIMEOUT = 60.0
"""Seconds that a server has to answer its health check."""

_LAUNCHER = Path(__file__).parent / "launcher.py"
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-spawner")


class ServerError(Exception):
    """A server did not do what it was asked; the message holds the end of its log."""


class Server(ABC):
    """A process with a folder of its own, a log and a health check.

    Subclasses say what to run (`command`), what to lay out before the first start (`prepare`) and when it is ready.
    """

    name: str
    stop_timeout = 5.0
    """Seconds that it has to end by itself, when it is stopped, before it is killed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._prepared = False

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients reach it."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line; its first word is an absolute path."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers as it should, asked once; an httpx error counts as no."""

    def prepare(self) -> None:
        """Lays out files before the first start; the folder itself comes from here."""
        (self.directory / "tmp").mkdir(parents=True, exist_ok=True)

    def environment(self) -> Mapping[str, str]:
        """What its environment holds beyond the common part."""
        return {}

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def healthy(self) -> bool:
        """Whether it runs and answers its health check now."""
        try:
            return self.running and self.ready()
        except httpx.HTTPError:
            return False

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self.running else None

    def start(self) -> None:
        """Starts the server and returns when it is ready; nothing to do if it runs.

        Raises ServerError if it ends or does not answer within STARTUP_TIMEOUT.
        """
        if self.running:
            return
        self._prepare_once()
        self._process = _spawner.submit(self._spawn).result()
        wait_until(
            self._answers,
            what=f"{self.name} to be ready",
            timeout=STARTUP_TIMEOUT,
            on_timeout=self._kill_and_explain,
        )

    def stop(self) -> None:
        """Asks the server to end, and kills it if it has not within `stop_timeout`."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends the server at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Stops and starts the server, with the same data and ports."""
        self.stop()
        self.start()

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def _prepare_once(self) -> None:
        if not self._prepared:
            self.prepare()
            self._prepared = True

    def _spawn(self) -> subprocess.Popen[bytes]:
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*launcher, *self.command()],
                cwd=self.directory,
                env={**self._common_environment(), **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _common_environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "TMPDIR": str(self.directory / "tmp"),
        }

    def _answers(self) -> bool:
        if not self.running:
            raise ServerError(
                f"{self.name} ended while it started. The end of {self.log}:\n{self.log_tail()}"
            )
        return self.healthy

    def _kill_and_explain(self) -> str:
        self.kill()
        return f"The end of {self.log}:\n{self.log_tail()}"


def wait_until(
    condition: Callable[[], bool],
    *,
    what: str,
    timeout: float,
    on_timeout: Callable[[], str] = str,
    interval: float = 0.05,
) -> None:
    """Returns when a condition holds, asking every `interval` seconds.

    Raises ServerError after `timeout` seconds, with what `on_timeout` has to say.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"Waited {timeout:.0f} s for {what}. {on_timeout()}".rstrip())
        time.sleep(interval)


def loopback_client(
    url: str, *, headers: Mapping[str, str] | None = None, trust: ssl.SSLContext | None = None
) -> httpx.Client:
    """A client for one of the servers here: no proxy between, no connection left open between requests.

    Without `trust` a certificate is not looked at.
    """
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(
        base_url=url, headers=headers, verify=trust or False, trust_env=False, limits=limits, timeout=10
    )


_reserved: set[int] = set()


def free_port() -> int:
    """A port of the loopback interface that nothing listens on.

    It lies below the range from which the kernel takes ports for outgoing connections, so that a server which is
    stopped and started again finds its port free. No two calls in one process return the same.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        if port not in _reserved and _can_bind(port):
            _reserved.add(port)
            return port


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))  # every interface: one server here cannot be told to bind loopback only
        except OSError:
            return False
        return True

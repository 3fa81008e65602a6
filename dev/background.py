"""A plane that goes on after the command that started it: `up`, `status` and `down`.

A supervising process owns the servers, which die with it. It writes what a person or another command wants to know to
`.plane/state.json` below the current folder, again every few seconds, and ends when it is told to (SIGTERM). `down` ends that one
process, after checking that the number still belongs to it; there is no search for processes by name.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from dev import toolchain
from dev.plane import TOOLS, ControlPlane
from dev.servers.kubectl import KubectlError
from dev.servers.process import Server, ServerError, wait_until

FOLDER = Path.cwd() / ".plane"
STATE = FOLDER / "state.json"
DATA = FOLDER / "data"
ENVIRONMENT = FOLDER / "env"
SUPERVISOR_LOG = FOLDER / "supervisor.log"

START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
LOOK_INTERVAL = 2.0
"""Seconds between two looks of the supervisor at its servers."""


class PlaneError(Exception):
    """The plane in the background cannot be started; the message says why."""


@dataclass(frozen=True)
class ServerState:
    """What is recorded of one server."""

    name: str
    pid: int | None
    url: str
    health: str  # ready, not ready, ended
    log: str

    @classmethod
    def of(cls, server: Server) -> Self:
        health = "ended" if not server.running else "ready" if server.healthy else "not ready"
        return cls(server.name, server.pid, server.url, health, str(server.log))


@dataclass(frozen=True)
class PlaneState:
    """What is recorded of the plane."""

    pid: int
    created: float  # tells the supervisor from a later process of the same number
    kubeconfig: str
    ipfs_gateway: str
    servers: tuple[ServerState, ...]

    @classmethod
    def of(cls, plane: ControlPlane) -> Self:
        return cls(
            pid=os.getpid(),
            created=psutil.Process().create_time(),
            kubeconfig=str(plane.kubeconfig),
            ipfs_gateway=plane.ipfs.gateway_url,
            servers=tuple(ServerState.of(server) for server in plane.servers),
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        fields: dict[str, Any] = json.loads(text)
        servers = tuple(ServerState(**server) for server in fields.pop("servers"))
        return cls(**fields, servers=servers)

    @property
    def supervisor(self) -> psutil.Process | None:
        """The process that owns the servers, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            return process if process.create_time() == self.created else None
        except psutil.NoSuchProcess:
            return None

    def url_of(self, name: str) -> str:
        return next(server.url for server in self.servers if server.name == name)


def running_plane() -> PlaneState | None:
    """The plane in the background, if there is one."""
    try:
        state = PlaneState.parse(STATE.read_text())
    except FileNotFoundError:
        return None
    return state if state.supervisor else None


def up() -> PlaneState:
    """Starts a plane in the background, unless one runs; returns when it is ready.

    Raises ToolchainError if a server cannot be built, PlaneError if one does not start.
    """
    running = running_plane()
    if running:
        return running
    toolchain.find_all(TOOLS)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    with SUPERVISOR_LOG.open("wb") as log:
        command = [sys.executable, "-m", "dev", "supervise"]
        supervisor = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait_until(
            lambda: STATE.exists() or supervisor.poll() is not None, what="the plane", timeout=START_TIMEOUT
        )
    except BaseException:
        supervisor.terminate()
        raise
    state = running_plane()
    if state is None:
        raise PlaneError(
            f"The plane did not start. The end of {SUPERVISOR_LOG}:\n{SUPERVISOR_LOG.read_text()[-2000:]}"
        )
    return state


def down() -> bool:
    """Ends the plane in the background, and removes its data; whether there was one."""
    state = running_plane()
    supervisor = state.supervisor if state else None
    if supervisor is not None:
        supervisor.terminate()
        try:
            supervisor.wait(STOP_TIMEOUT)
        except psutil.TimeoutExpired:
            supervisor.kill()  # the servers end with it
    shutil.rmtree(FOLDER, ignore_errors=True)
    return supervisor is not None


def supervise() -> int:
    """Runs a plane until SIGTERM; the exit code."""
    told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())
    plane = ControlPlane(DATA)
    try:
        plane.start()
        if plane.install_crds():
            plane.create_connection(namespace="default")
        write_environment(plane)
        while not told_to_end.is_set():
            record(PlaneState.of(plane))
            told_to_end.wait(LOOK_INTERVAL)
    except (ServerError, KubectlError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        plane.close()
    return 0


def record(state: PlaneState) -> None:
    """Replaces the recorded state in one step, so that nobody reads half of it."""
    written = STATE.with_suffix(".new")
    written.write_text(json.dumps(asdict(state), indent=2))
    written.rename(STATE)


def write_environment(plane: ControlPlane) -> None:
    """Lays out what a shell needs to talk to the plane: variables, and the command line tools."""
    binaries = FOLDER / "bin"
    binaries.mkdir()
    for name in ("kubectl", "bacalhau", "ipfs"):
        (binaries / name).symlink_to(toolchain.find(name))
    host, port = plane.bacalhau.url.removeprefix("http://").split(":")
    ENVIRONMENT.write_text(
        f"export PATH={binaries}:$PATH\n"
        f"export KUBECONFIG={plane.kubeconfig}\n"
        f"export BACALHAU_API_HOST={host} BACALHAU_API_PORT={port} BACALHAU_DIR={FOLDER / 'bacalhau'}\n"
        f"export IPFS_PATH={plane.ipfs.repository}\n"
        + "".join(f"export {name}={value}\n" for name, value in plane.s3.client_environment.items())
        + f"export AWS_ENDPOINT_URL={plane.s3.endpoint}\n"
    )

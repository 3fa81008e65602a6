"""`make up`, `make status` and `make down`, as a person uses them, in a folder of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from dev.background import PlaneState
from dev.servers.process import wait_until

ROOT = Path(__file__).parent.parent.parent

pytestmark = pytest.mark.e2e

Dev = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    """Runs `python -m dev COMMAND`; what it started ends with the test."""

    def run(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "dev", command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    yield run
    run("down")


def test_up_status_down(dev: Dev, tmp_path: Path) -> None:
    started = dev("up")
    assert started.returncode == 0, started.stdout + started.stderr
    state = PlaneState.parse((tmp_path / ".plane" / "state.json").read_text())
    assert state.kubeconfig in started.stdout
    assert all(server.url in started.stdout for server in state.servers)

    listed = in_shell(tmp_path, "kubectl get namespaces -o name")
    assert "namespace/default" in listed
    assert "CONNECTED" in in_shell(tmp_path, "bacalhau node list")

    assert dev("status").returncode == 0
    assert "running already" in dev("up").stdout

    owned = [psutil.Process(server.pid) for server in state.servers if server.pid]
    assert len(owned) == len(state.servers)
    assert "has ended" in dev("down").stdout
    assert not any(process.is_running() for process in owned)
    assert not (tmp_path / ".plane").exists()


def test_a_server_that_ended_is_shown_with_its_log(dev: Dev, tmp_path: Path) -> None:
    dev("up")
    state = PlaneState.parse((tmp_path / ".plane" / "state.json").read_text())
    broken = next(server for server in state.servers if server.name == "kubo")
    assert broken.pid
    psutil.Process(broken.pid).kill()

    wait_until(lambda: dev("status").returncode == 1, what="the supervisor to notice", timeout=60)

    shown = dev("status").stdout
    assert re.search(r"^kubo +ended", shown, re.MULTILINE)
    assert broken.log in shown


def test_without_a_plane(dev: Dev) -> None:
    status = dev("status")
    assert status.returncode == 3
    assert "make up" in status.stdout
    assert dev("down").returncode == 0


def in_shell(folder: Path, command: str) -> str:
    """What a command prints in a shell that has sourced the plane's environment."""
    script = f". .plane/env && {command}"
    return subprocess.run(
        ["sh", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    ).stdout

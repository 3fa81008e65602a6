"""The container engine itself: what runs on it runs for real, and nothing of it outlives the process that started it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from dev.containers import BASE_IMAGE, ContainerEngine
from dev.servers.process import ServerError

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

OWNER = """
import sys, time
from pathlib import Path
from dev.containers import BASE_IMAGE, ContainerEngine

with ContainerEngine(Path(sys.argv[1])) as engine:
    engine.docker("run", "--detach", "--network=none", BASE_IMAGE, "python3", "-c", "import time; time.sleep(3600)")
    print("started", flush=True)
    time.sleep(3600)
"""


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed in the end, whatever the test finds out."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_exit_code_and_output_of_a_container_arrive(engine: ContainerEngine) -> None:
    assert (
        engine.docker("run", "--rm", "--network=none", BASE_IMAGE, "python3", "-c", "print(6 * 7)") == "42\n"
    )
    with pytest.raises(ServerError, match="exit code 3"):
        engine.docker("run", "--rm", "--network=none", BASE_IMAGE, "python3", "-c", "raise SystemExit(3)")


def test_a_container_without_network_reaches_nothing(engine: ContainerEngine) -> None:
    list_interfaces = "import socket; print([name for _, name in socket.if_nameindex()])"
    shown = engine.docker("run", "--rm", "--network=none", BASE_IMAGE, "python3", "-c", list_interfaces)
    assert shown == "['lo']\n"


@pytest.mark.usefixtures("engine")  # skips where there can be none
def test_nothing_outlives_an_owner_that_is_killed(tmp_path: Path) -> None:
    with running([sys.executable, "-c", OWNER, str(tmp_path)]) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"started\n"
        descendants = psutil.Process(owner.pid).children(recursive=True)
        names = {process.name() for process in descendants}
    assert {"dockerd", "containerd", "containerd-shim-runc-v2", "docker-registry", "python3"} <= names
    _, alive = psutil.wait_procs(descendants, timeout=30)
    assert alive == []
    assert str(tmp_path) not in Path("/proc/mounts").read_text()

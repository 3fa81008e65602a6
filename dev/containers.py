"""A container engine and a registry of one's own, for jobs and images: Debian's dockerd and docker-registry, unpacked, not installed.

    with ContainerEngine(directory / "engine") as engine:
        image = engine.build(Path("examples/ml-pipeline"), name="ml-pipeline")
        engine.docker("run", "--rm", image, "split")

The daemon runs as process 1 of a process namespace, in a mount namespace of its own. When that process ends, however it ends, the
kernel ends every container, shim and mount with it, even after a crash; no more than empty folders stay. The machine's own Docker,
if it has one, shares nothing with it. Containers have no network of their own, only `none` or the machine's (`host`).

Images are pushed to the registry on loopback, since Bacalhau asks the registry in an image's name before it runs the image.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from typing_extensions import override

from dev import debian
from dev.servers.bacalhau import BacalhauOptions, BacalhauServer
from dev.servers.kubo import Kubo
from dev.servers.process import Server, ServerError, free_port, loopback_client
from dev.servers.s3 import S3

PROGRAMS = ("docker.io", "docker-registry")

BASE_PACKAGES = (
    "base-files",
    "base-passwd",
    "ca-certificates",
    "coreutils",
    "dash",
    "libc-bin",
    "libstdc++6",  # compiled wheels expect it of the system, as the public Python images have it
    "python3-venv",
)
"""What the base image holds: the least in which `python3 -m venv` and pip work."""

BASE_IMAGE = "python-base:local"

PASSED_ON = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
"""Variables of this process by which pip in a build finds its index, as it does outside."""

CGROUPS = Path("/sys/fs/cgroup")
CGROUP_PREFIX = "container-engine-"
"""Followed by the process that owns the engine and a number."""

BUILD_TIMEOUT = 900.0
"""Seconds for one docker command; builds download wheels."""

# Docker and containerd keep sockets and a key at fixed places; each is hidden behind an empty file system of our own.
_START_DAEMON = """
set -e
for directory in /etc/docker /run/containerd /run/docker; do
  mkdir -p "$directory"
  mount -t tmpfs tmpfs "$directory"
done
exec docker-init -- dockerd "$@"
"""

_NEW_NAMESPACES = ("--mount", "--pid", "--fork", "--mount-proc", "--kill-child")


def why_impossible() -> str | None:
    """Why no container engine can run here, or None if one can."""
    return debian.why_impossible() or _why_no_namespaces()


def _why_no_namespaces() -> str | None:
    unshare = shutil.which("unshare")
    if unshare is None:
        return "The program unshare (package util-linux) is missing."
    mount = [unshare, *_NEW_NAMESPACES, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    tried = subprocess.run(mount, capture_output=True, text=True, timeout=30, check=False)
    return None if tried.returncode == 0 else f"The kernel refuses a mount namespace: {tried.stderr.strip()}"


def _environment() -> dict[str, str]:
    """Puts the unpacked programs and libraries before those of the machine."""
    programs = debian.unpack_programs(*PROGRAMS)
    folders = [programs / "usr/sbin", programs / "usr/bin"]
    libraries = [*programs.glob("lib/*-linux-*"), *programs.glob("usr/lib/*-linux-*")]
    return {
        "PATH": os.pathsep.join([*map(str, folders), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries)),
        "DOCKER_BUILDKIT": "0",  # the daemon's own builder: Debian does not package the other one
    }


def _find(program: str) -> str:
    found = shutil.which(program, path=_environment()["PATH"])
    if found is None:
        raise ServerError(f"Debian's packages {' and '.join(PROGRAMS)} hold no program {program}.")
    return found


class Registry(Server):
    """An image registry on loopback, which clients need no TLS and no password for."""

    name = "registry"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.address = f"127.0.0.1:{free_port()}"
        self._http = loopback_client(self.url)

    @property
    @override
    def url(self) -> str:
        return f"http://{self.address}"

    @override
    def prepare(self) -> None:
        super().prepare()
        storage = {"filesystem": {"rootdirectory": str(self.directory / "images")}}
        config = {"version": 0.1, "storage": storage, "http": {"addr": self.address}}
        (self.directory / "config.yml").write_text(yaml.safe_dump(config))

    @override
    def command(self) -> list[str]:
        return [_find("docker-registry"), "serve", str(self.directory / "config.yml")]

    @override
    def ready(self) -> bool:
        return self._http.get("/v2/").status_code == 200


class Dockerd(Server):
    """The Docker daemon in namespaces of its own; its clients reach it by a socket in its folder."""

    name = "dockerd"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._socket = directory / "docker.sock"
        self._cgroup = f"{CGROUP_PREFIX}{os.getpid()}-{free_port()}"

    @override
    def prepare(self) -> None:
        super().prepare()
        _remove_cgroups_of_the_dead()

    @property
    @override
    def url(self) -> str:
        """What clients take as DOCKER_HOST."""
        return f"unix://{self._socket}"

    @override
    def environment(self) -> Mapping[str, str]:
        return _environment()

    @override
    def command(self) -> list[str]:
        unshare = [shutil.which("unshare") or "/usr/bin/unshare", *_NEW_NAMESPACES]
        network = ["--bridge=none", "--iptables=false", "--ip6tables=false"]
        places = [
            f"--host={self.url}",
            f"--data-root={self.directory / 'data'}",
            # Inside the namespace alone; a socket's path must not be long, and a folder for tests often is.
            "--exec-root=/run/docker",
            "--pidfile=/run/docker/dockerd.pid",
        ]
        # Without a storage driver named, it takes the overlay file system where the kernel has it, and copies otherwise.
        cgroups = ["--exec-opt=native.cgroupdriver=cgroupfs", f"--cgroup-parent=/{self._cgroup}"]
        return [*unshare, "/bin/sh", "-c", _START_DAEMON, "dockerd", *network, *places, *cgroups]

    @override
    def ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(self._socket))
                client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in client.recv(64)
            except OSError:
                return False

    @override
    def stop(self) -> None:
        """Ends it at once: the kernel puts everything in order, and nothing of it is kept."""
        self.kill()

    @override
    def kill(self) -> None:
        """Ends process 1 of the namespace first: when unshare has seen that, all others have ended too."""
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(10)
        super().kill()
        for group in [CGROUPS / self._cgroup, *CGROUPS.glob(f"*/{self._cgroup}")]:
            _remove_cgroup(group)

    def _children(self) -> list[int]:
        if self.pid is None:
            return []
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]


def _remove_cgroups_of_the_dead() -> None:
    """Removes the empty control groups of engines whose owner has ended: the one thing that outlives a crash."""
    for group in [*CGROUPS.glob(f"{CGROUP_PREFIX}*"), *CGROUPS.glob(f"*/{CGROUP_PREFIX}*")]:
        owner = group.name.removeprefix(CGROUP_PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            _remove_cgroup(group)


def _remove_cgroup(group: Path) -> None:
    below = [folder for folder in group.rglob("*") if folder.is_dir()]
    for folder in [*sorted(below, reverse=True), group]:
        with suppress(OSError):  # in use, or removed by another engine
            folder.rmdir()


class ContainerEngine:
    """A daemon and a registry, started and ended together, and the few docker commands that tests make."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.registry = Registry(directory / "registry")
        self.daemon = Dockerd(directory / "dockerd")

    def start(self) -> None:
        """Unpacks what is missing, and returns when both answer and the base image is there.

        Raises DebianError or ServerError; what had been started is ended first.
        """
        try:
            self.registry.start()
            self.daemon.start()
            self._import_base()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the containers, the daemon and the registry; their images go, their logs stay."""
        self.daemon.kill()
        self.registry.kill()
        for images in (self.daemon.directory / "data", self.registry.directory / "images"):
            shutil.rmtree(images, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def build(self, folder: Path, *, name: str) -> str:
        """Builds a folder's Dockerfile on the base image and pushes the result; returns the image's full name.

        Raises ServerError with the end of docker's output.
        """
        image = f"{self.registry.address}/{name}:local"
        base = f"--build-arg=BASE_IMAGE={BASE_IMAGE}"
        self.docker("build", "--network=host", base, f"--tag={image}", str(folder))
        self.docker("push", image)
        return image

    def docker(self, *arguments: str, timeout: float = BUILD_TIMEOUT) -> str:
        """Runs the docker client against this daemon; returns what it prints on standard output.

        Raises ServerError if it exits with another code than 0, subprocess.TimeoutExpired after `timeout` seconds.
        """
        client = {"DOCKER_HOST": self.daemon.url, "HOME": str(self.directory), **_environment()}
        finished = subprocess.run(
            [_find("docker"), *arguments],
            env=client,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if finished.returncode != 0:
            last = "\n".join((finished.stdout + finished.stderr).splitlines()[-15:])
            raise ServerError(f"docker {' '.join(arguments)}: exit code {finished.returncode}:\n{last}")
        return finished.stdout

    def _import_base(self) -> None:
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        variables = {
            "PATH": "/usr/local/bin:/usr/bin",
            "PIP_CERT": str(debian.CERTIFICATES),
            **passed_on,
        }
        changes = [f"--change=ENV {name}={value}" for name, value in variables.items()]
        self.docker("import", *changes, str(debian.pack_root(*BASE_PACKAGES)), BASE_IMAGE)


class DockerBacalhau(BacalhauServer):
    """A Bacalhau node that runs Docker jobs too."""

    def __init__(self, directory: Path, *, engine: ContainerEngine, kubo: Kubo, s3: S3) -> None:
        engines: dict[str, Any] = {"Engines": {"Disabled": []}}
        super().__init__(
            directory, kubo=kubo, s3=s3, name="bacalhau-docker", options=BacalhauOptions(config=engines)
        )
        self._engine = engine

    @override
    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "DOCKER_HOST": self._engine.daemon.url}

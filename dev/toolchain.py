"""The servers' binaries: pinned in `dev/tools/*/go.mod`, built once, kept outside the tree.

A binary is looked for in three places. `KUBEBUILDER_ASSETS` (envtest's convention) is taken at its word; a binary on
`PATH` is taken when its minor version is the pinned one; otherwise Go builds it into a folder of the user's cache whose
name holds a hash of everything that decides the result. So a changed pin builds anew, an old checkout finds its old
binaries, and two checkouts with the same pins share one build.

A build happens in a temporary folder and is renamed into place, under a lock: an interrupted build leaves nothing that
looks finished, and two processes that start together build once.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dev.progress import BuildProgress, show_progress

MODULES = Path(__file__).parent / "tools"


class ToolchainError(Exception):
    """A tool cannot be had; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """One binary: where its source is pinned, and how it is built."""

    name: str
    module: str  # the folder below dev/tools
    package: str
    linker_variables: tuple[str, ...] = ()  # what `-X` sets; {version} is the pinned one
    version_command: tuple[
        str, ...
    ] = ()  # prints the version of one found on PATH; none: never taken from there

    @property
    def folder(self) -> Path:
        return MODULES / self.module

    @property
    def version(self) -> str:
        """The pinned version, such as `v1.36.3`."""
        pin = re.search(r"^require \S+ (v\S+)$", (self.folder / "go.mod").read_text(), re.MULTILINE)
        if pin is None:
            raise ToolchainError(
                f"{self.folder / 'go.mod'} pins nothing: its first require line names the tool's module."
            )
        return pin[1]

    @property
    def build_flags(self) -> list[str]:
        variables = [f"-X {variable.format(version=self.version)}" for variable in self.linker_variables]
        return ["-trimpath", f"-ldflags={' '.join(['-s', '-w', *variables])}"]


def _kubernetes(name: str, *version_command: str) -> Tool:
    version = "k8s.io/component-base/version"
    return Tool(
        name=name,
        module="kubernetes",
        package=f"k8s.io/kubernetes/cmd/{name}",
        # Without a version clients cannot parse what the API server says about itself.
        linker_variables=(
            f"{version}.gitVersion={{version}}",
            f"{version}.gitMajor=1",
            f"{version}.gitMinor=36",
        ),
        version_command=version_command,
    )


_BACALHAU = "github.com/bacalhau-project/bacalhau"

TOOLS: Mapping[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool(
            name="etcd",
            module="etcd",
            package="go.etcd.io/etcd/server/v3",
            version_command=("--version",),
        ),
        _kubernetes("kube-apiserver", "--version"),
        _kubernetes("kube-controller-manager", "--version"),
        _kubernetes("kubectl", "version", "--client"),
        Tool(name="ipfs", module="kubo", package="github.com/ipfs/kubo/cmd/ipfs"),
        Tool(
            name="bacalhau",
            module="bacalhau",
            package=_BACALHAU,
            linker_variables=(f"{_BACALHAU}/pkg/version.GITVERSION={{version}}",),
        ),
        Tool(
            name="versitygw",
            module="versitygw",
            package="github.com/versity/versitygw/cmd/versitygw",
            linker_variables=("main.Version={version}",),
        ),
        Tool(
            name="helm",
            module="helm",
            package="helm.sh/helm/v3/cmd/helm",
            linker_variables=("helm.sh/helm/v3/internal/version.version={version}",),
            version_command=("version", "--short"),
        ),
    )
}


def find(name: str) -> Path:
    """The path of a tool's binary, built now if it has to be.

    Raises ToolchainError if it cannot be built.
    """
    return find_all([name])[name]


def find_all(names: Iterable[str]) -> dict[str, Path]:
    """The paths of several tools by name; what is missing is built, with progress on standard error.

    Raises ToolchainError if one of them cannot be built.
    """
    tools = [TOOLS[name] for name in names]
    found = {tool.name: path for tool in tools if (path := _existing(tool))}
    missing = [tool for tool in tools if tool.name not in found]
    if missing:
        with show_progress(total=len(missing)) as progress:
            found.update({tool.name: _build_once(tool, progress) for tool in missing})
    return found


def _existing(tool: Tool) -> Path | None:
    return _from_assets(tool) or _from_path(tool) or _from_cache(tool)


def _from_assets(tool: Tool) -> Path | None:
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    binary = Path(folder) / tool.name if folder else None
    return binary if binary and os.access(binary, os.X_OK) else None


@cache
def _from_path(tool: Tool) -> Path | None:
    binary = shutil.which(tool.name) if tool.version_command else None
    return Path(binary) if binary and _prints_pinned_minor(binary, tool) else None


def _prints_pinned_minor(binary: str, tool: Tool) -> bool:
    try:
        shown = subprocess.run(
            [binary, *tool.version_command],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            stdin=subprocess.DEVNULL,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    pinned_minor = re.escape(tool.version.removeprefix("v").rpartition(".")[0])
    return re.search(rf"\bv?{pinned_minor}\.\d", shown) is not None


def _from_cache(tool: Tool) -> Path | None:
    if shutil.which("go") is None:
        return None
    binary = _cached(tool)
    return binary if binary.exists() else None


def cache_folder() -> Path:
    """Where built tools are kept; other things that are expensive to make may live below it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "bacalhau-dag-operator"


def _cached(tool: Tool) -> Path:
    return cache_folder() / "tools" / f"{tool.name}-{_fingerprint(tool)}" / tool.name


def _fingerprint(tool: Tool) -> str:
    parts = [
        (tool.folder / "go.mod").read_text(),
        (tool.folder / "go.sum").read_text(),
        tool.package,
        *tool.build_flags,
        go_version(),
    ]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@cache
def go_version() -> str:
    """What `go` calls itself, with the platform that it builds for.

    Raises ToolchainError if there is no Go.
    """
    if shutil.which("go") is None:
        raise ToolchainError(
            "The Go compiler is missing: the local servers are built from source. Install Go 1.26.5 or newer "
            "(https://go.dev/doc/install) and put `go` on PATH."
        )
    return subprocess.run(["go", "version"], capture_output=True, text=True, check=True).stdout.strip()


def go_environment() -> dict[str, str]:
    """The environment for every build here: nothing of the user's own Go settings changes the result."""
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def _build_once(tool: Tool, progress: BuildProgress) -> Path:
    go_version()
    binary = _cached(tool)
    with locked(binary.parent.with_suffix(".lock"), on_wait=lambda: progress.wait(tool.name)):
        if not binary.exists():
            _build(tool, binary, progress)
    progress.finish()
    return binary


@contextmanager
def locked(path: Path, *, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds an exclusive lock on a file; `on_wait` is called if another process has to let go of it first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(tool: Tool, binary: Path, progress: BuildProgress) -> None:
    with tempfile.TemporaryDirectory(dir=binary.parent.parent, prefix=f".{tool.name}-") as folder:
        progress.begin(f"{tool.name} {tool.version}", packages=_count_packages(tool))
        _compile(tool, Path(folder) / tool.name, progress)
        binary.parent.mkdir(exist_ok=True)
        (Path(folder) / tool.name).rename(binary)


def _count_packages(tool: Tool) -> int:
    """How many packages a build from nothing compiles. Downloads the sources as a side effect."""
    listed = subprocess.run(
        ["go", "list", "-deps", tool.package],
        cwd=tool.folder,
        env=go_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        raise _build_failed(tool, listed.stderr.splitlines())
    return len(listed.stdout.splitlines())


def _compile(tool: Tool, target: Path, progress: BuildProgress) -> None:
    command = ["go", "build", "-v", *tool.build_flags, "-o", str(target), tool.package]
    output: deque[str] = deque(maxlen=15)
    with subprocess.Popen(
        command,
        cwd=tool.folder,
        env=go_environment(),
        stderr=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    ) as build:
        assert build.stderr is not None
        for line in build.stderr:
            output.append(line.rstrip())
            progress.advance()
    if build.returncode != 0:
        raise _build_failed(tool, list(output))


def _build_failed(tool: Tool, output: list[str]) -> ToolchainError:
    last_lines = "\n".join(f"    {line}" for line in output[-15:])
    return ToolchainError(
        f"Go could not build {tool.name} {tool.version}. Its last lines:\n{last_lines}\n"
        f"Check that the Go module proxy is reachable and the disk is not full, then try again: what has been compiled "
        f"is kept. To see the whole output: cd {tool.folder} && CGO_ENABLED=0 go build -o /dev/null {tool.package}"
    )

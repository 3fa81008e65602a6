"""Where binaries are found, and that building one is done once, whole or not at all.

The builds here are real, of a program of three lines.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dev import toolchain
from dev.progress import BuildProgress
from dev.toolchain import TOOLS, Tool, ToolchainError, find

GREETER = Tool(
    name="greeter",
    module="greeter",
    package="example.org/greeter",
    linker_variables=("main.version={version}",),
)
PROGRAM = 'package main\n\nvar version string\n\nfunc main() { println("Greeter " + version) }\n'

Install = Callable[[Tool, str], Path]


@pytest.fixture(autouse=True)
def _nothing_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_cache = (
        toolchain.cache_folder().parent / "go-build"
    )  # Go keeps its own beside ours: that one stays warm
    monkeypatch.setenv("GOCACHE", os.environ.get("GOCACHE") or str(go_cache))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    toolchain._from_path.cache_clear()
    toolchain.go_version.cache_clear()


@pytest.fixture
def greeter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """A tool whose module lies in the test's folder, so that nothing is downloaded."""
    source = tmp_path / "modules" / "source"
    source.mkdir(parents=True)
    (source / "go.mod").write_text("module example.org/greeter\n\ngo 1.24\n")
    (source / "main.go").write_text(PROGRAM)
    module = tmp_path / "modules" / "greeter"
    module.mkdir()
    (module / "go.mod").write_text(
        "module tools/greeter\n\ngo 1.24\n\ntool example.org/greeter\n\nrequire example.org/greeter v1.2.3\n\n"
        "replace example.org/greeter => ../source\n"
    )
    (module / "go.sum").write_text("")
    monkeypatch.setattr(toolchain, "MODULES", tmp_path / "modules")
    monkeypatch.setattr(toolchain, "TOOLS", {**TOOLS, GREETER.name: GREETER})
    return GREETER


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a program on PATH that prints a line."""
    folder = tmp_path / "bin"
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return lambda tool, line: script(folder, tool, line)


def script(folder: Path, tool: Tool, line: str) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / tool.name
    program.write_text(f"#!/bin/sh\necho '{line}'\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("tool", TOOLS.values(), ids=lambda tool: tool.name)
def test_every_tool_is_pinned_by_its_module(tool: Tool) -> None:
    go_mod = (tool.folder / "go.mod").read_text()
    assert f"\ntool {tool.package}\n" in go_mod
    assert tool.version.startswith("v")


def test_assets_are_taken_at_their_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asset = script(tmp_path / "assets", TOOLS["etcd"], "no version at all")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(asset.parent))
    assert find("etcd") == asset


@pytest.mark.parametrize("line", ["Client Version: v1.36.0", "Client Version: v1.36.9-vendor"])
def test_a_program_on_path_of_the_same_minor_version_is_taken(on_path: Install, line: str) -> None:
    installed = on_path(TOOLS["kubectl"], line)
    assert find("kubectl") == installed


@pytest.mark.parametrize(
    "line", ["Client Version: v1.35.3", "Client Version: v11.36.3", "Client Version: v1.360.1", ""]
)
def test_a_program_on_path_of_another_minor_version_is_not(on_path: Install, line: str) -> None:
    on_path(TOOLS["kubectl"], line)
    assert toolchain._from_path(TOOLS["kubectl"]) is None


def test_a_tool_without_a_version_command_is_never_taken_from_path(on_path: Install, greeter: Tool) -> None:
    installed = on_path(greeter, "Greeter v1.2.3")
    assert find(greeter.name) != installed


def test_a_missing_tool_is_built_with_its_version(greeter: Tool) -> None:
    assert "Greeter v1.2.3" in run(find(greeter.name))


def test_what_is_built_is_kept(greeter: Tool) -> None:
    built = find(greeter.name)
    before = built.stat()
    assert find(greeter.name) == built
    assert built.stat().st_mtime_ns == before.st_mtime_ns


def test_a_changed_pin_is_built_anew(greeter: Tool) -> None:
    before = find(greeter.name)
    go_mod = greeter.folder / "go.mod"
    go_mod.write_text(go_mod.read_text().replace("v1.2.3", "v1.2.4"))
    after = find(greeter.name)
    assert after != before
    assert "Greeter v1.2.4" in run(after)


def test_two_that_want_the_same_build_it_once(greeter: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Path] = []
    compile_tool = toolchain._compile

    def counting(tool: Tool, target: Path, progress: BuildProgress) -> None:
        compiled.append(target)
        compile_tool(tool, target, progress)

    monkeypatch.setattr(toolchain, "_compile", counting)
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(find, [greeter.name] * 4))
    assert len(found) == len(compiled) == 1


def test_a_failed_build_shows_what_go_said_and_leaves_nothing(greeter: Tool, tmp_path: Path) -> None:
    (tmp_path / "modules" / "source" / "main.go").write_text("package main\n\nfunc main() { undefined() }\n")
    with pytest.raises(ToolchainError, match="undefined: undefined") as raised:
        find(greeter.name)
    assert "Go could not build greeter v1.2.3." in str(raised.value)
    assert [path.name for path in (tmp_path / "cache").rglob("*greeter*") if path.suffix != ".lock"] == []


def test_unresolved_sources_are_a_failed_build(greeter: Tool, tmp_path: Path) -> None:
    (tmp_path / "modules" / "source" / "main.go").unlink()
    with pytest.raises(ToolchainError, match="Go could not build greeter"):
        find(greeter.name)


def test_without_go_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolchainError, match=r"Install Go 1\.26\.5 or newer"):
        find("versitygw")


def run(binary: Path) -> str:
    return subprocess.run([binary], capture_output=True, text=True, check=True).stderr

"""The demonstration's ends: what it shows of a result, and what it says and keeps when something fails.

The way from one to the other is walked by the end-to-end tests, on real servers.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from dev import demo, toolchain, wordcount
from dev.wordcount import BuildError, RankedWord, read_counts, read_report


def explained(error: Exception, directory: Path) -> str:
    output = io.StringIO()
    demo.explain(error, directory, Console(file=output, width=80))
    return output.getvalue()


def test_a_failure_names_the_logs_that_of_the_controller_first(tmp_path: Path) -> None:
    for server in ("bacalhau", "controller", "etcd"):
        (tmp_path / server).mkdir()
        (tmp_path / server / "log").touch()
    lines = explained(demo.DemoError("The run ended as Failed."), tmp_path).splitlines()
    logs = [line.strip() for line in lines if line.endswith("/log")]
    assert lines[1] == "✘ The run ended as Failed."
    assert logs[0] == str(tmp_path / "controller" / "log")
    assert len(logs) == 3
    assert str(tmp_path) in lines[-1]


def test_a_failure_before_any_server_ran_keeps_nothing(tmp_path: Path) -> None:
    assert explained(BuildError("Go was not found."), tmp_path).splitlines()[1:] == ["✘ Go was not found."]
    assert not tmp_path.exists()


def test_a_failure_is_an_exit_code_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(names: object) -> None:
        raise toolchain.ToolchainError("Go was not found. Install Go 1.26 or newer.")

    monkeypatch.setattr(toolchain, "find_all", refuse)
    assert demo.main() == 1
    assert "Install Go 1.26 or newer." in capsys.readouterr().out


def test_bars_are_in_proportion_to_the_counts() -> None:
    console = Console(file=io.StringIO(), record=True, width=100)
    console.print(demo.words_table([RankedWord(1, "light", 800, 0.8), RankedWord(2, "glass", 400, 0.4)]))
    lines = console.export_text().splitlines()
    assert [line.count("█") for line in lines] == [demo.BAR_WIDTH, demo.BAR_WIDTH // 2]
    assert lines[0].split()[:5] == ["1", "light", "800", "0.80", "%"]


def test_the_tables_of_the_program_are_read() -> None:
    assert read_counts("publish'd\t3\nphænomena\t1\n".encode()) == {"publish'd": 3, "phænomena": 1}
    assert read_report(b"rank\tword\tcount\tpercent\n1\tlight\t823\t0.83\n") == [
        RankedWord(1, "light", 823, 0.83)
    ]


def test_the_manifest_is_the_shipped_one_with_other_arguments() -> None:
    values = {"tool": "bafytool", "text": "bafytext"}
    manifest = wordcount.manifest(values)
    assert manifest["spec"]["arguments"] == values
    assert [node["name"] for node in manifest["spec"]["nodes"]][-1] == "report"

"""Why packages cannot be unpacked, where they cannot."""

from __future__ import annotations

import pytest

from dev import containers, debian


def test_an_ordinary_user_is_told_why_there_are_no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert str(debian.why_impossible()).startswith("This process is not root")


def test_a_machine_without_apt_is_told_why_there_are_no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)
    assert str(debian.why_impossible()).startswith("This machine is not a Debian")


def test_a_kernel_that_refuses_namespaces_is_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    refusing = tmp_path_factory.mktemp("bin") / "unshare"
    refusing.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    refusing.chmod(0o755)
    monkeypatch.setattr("dev.debian.why_impossible", lambda: None)
    monkeypatch.setattr("shutil.which", lambda program: str(refusing))
    assert str(containers.why_impossible()).endswith("Operation not permitted")

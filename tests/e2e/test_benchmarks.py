"""The benchmarks run: what they measure is for people to judge, that they measure it is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_the_overhead_is_measured_on_both_sides() -> None:
    small = ["--rounds", "1", "--length", "2", "--width", "5", "--old-jobs", "20", "--output", "json"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.overhead", *small],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=280,
    )
    measured = json.loads(run.stdout)
    assert [(result["workload"]["name"], result["old_jobs"]) for result in measured["results"]] == [
        ("chain of 2", 0),
        ("fan of 5", 0),
        ("chain of 2", 20),
        ("fan of 5", 20),
    ]
    for result in measured["results"]:
        (pair,) = result["pairs"]
        assert result["ratio"] == pair["operator"]["seconds"] / pair["floor"]["seconds"] > 0
        assert pair["operator"]["bacalhau_requests"] >= 2 * result["nodes"]
        assert pair["floor"]["bacalhau_requests"] >= 2 * result["nodes"]
        assert pair["operator"]["kubernetes_requests"] > 0 == pair["floor"]["kubernetes_requests"]
    assert measured["controller_peak_memory_bytes"] > 0

"""What a run costs besides time: requests, bytes, CPU and memory, read from outside of whoever spends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import httpx
import psutil
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from dev.servers.process import Server

Counters = dict[str, float]
"""Totals that only grow, by name."""

OPERATOR_RESOURCES = frozenset({"bacalhaudags", "bacalhauconnections", "events", "leases"})
"""What the operator reads and writes."""


def difference(after: Counters, before: Counters) -> Counters:
    """How much each counter has grown."""
    return {name: value - before[name] for name, value in after.items()}


def cpu_seconds(server: Server) -> float:
    """CPU time of a server so far, in user and kernel mode."""
    times = psutil.Process(server.pid).cpu_times()
    return float(times.user + times.system)


def peak_memory(server: Server) -> int:
    """The most bytes that a server has had resident so far; where the system does not tell, those it has now."""
    status = Path(f"/proc/{server.pid}/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    return int(psutil.Process(server.pid).memory_info().rss)


def bacalhau_counters(controller: httpx.Client) -> Counters:
    """Requests and bytes between the operator and Bacalhau, from the operator's metrics."""
    families = _scrape(controller)
    return {
        "bacalhau_requests": _total(families, "bacalhau_dag_bacalhau_request_seconds", "_count"),
        "bacalhau_bytes": _total(families, "bacalhau_dag_bacalhau_bytes", "_total"),
    }


def kubernetes_counters(api_server: httpx.Client) -> Counters:
    """Requests and bytes between the operator and the API server, from the API server's metrics.

    What watches bring is not in there: the API server does not tell one watcher from another.
    """
    families = _scrape(api_server)
    return {
        "kubernetes_requests": _total(families, "apiserver_request", "_total", of=_is_operators),
        "kubernetes_bytes": _total(families, "apiserver_request_body_size_bytes", "_sum", of=_is_operators)
        + _total(families, "apiserver_response_sizes", "_sum", of=_is_operators),
    }


def _scrape(client: httpx.Client) -> dict[str, Metric]:
    text = client.get("/metrics").raise_for_status().text
    return {family.name: family for family in text_string_to_metric_families(text)}


def _is_operators(labels: Mapping[str, str]) -> bool:
    """Whether a request is the operator's: the benchmark itself creates DAGs, and opens a watch for each."""
    created = labels.get("resource") == "bacalhaudags" and labels.get("verb") in ("POST", "create")
    return labels.get("resource") in OPERATOR_RESOURCES and labels.get("verb") != "WATCH" and not created


def _total(
    families: Mapping[str, Metric],
    name: str,
    suffix: str,
    *,
    of: Callable[[Mapping[str, str]], bool] = lambda labels: True,
) -> float:
    return sum(_values(families, name, suffix, of))


def _values(
    families: Mapping[str, Metric], name: str, suffix: str, of: Callable[[Mapping[str, str]], bool]
) -> Iterator[float]:
    for sample in families[name].samples if name in families else ():
        if sample.name == f"{name}{suffix}" and of(sample.labels):
            yield sample.value

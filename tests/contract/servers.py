"""A server under contract, and what the one in memory is told to make of jobs."""

from dataclasses import dataclass
from typing import Any

from controller.bacalhau.client import BacalhauClient
from controller.bacalhau.http import Channel
from tests.support.bacalhau_jobs import a_job
from tests.support.fake_bacalhau import Fate


@dataclass(frozen=True)
class Server:
    """A Bacalhau with at least one compute node, and a namespace that nobody else uses."""

    client: BacalhauClient
    channel: Channel
    namespace: str

    def job(self, name: str = "job-1", **fields: Any) -> dict[str, Any]:
        """A small job in the namespace."""
        return a_job(name, namespace=self.namespace, **fields)


def fate(job: dict[str, Any]) -> Fate:
    """What a real server makes of the jobs of these tests."""
    if job["Count"] == 0:
        return Fate(ends_after=0.0)
    if "impossible" in job["Name"]:
        return Fate(starts_after=10**6)
    return Fate(ends_after=0.05, exit_code=-1)

"""What holds for all tests, and what every test may ask for.

Only tests marked `e2e` ask for the plane: it takes real servers, built when they are missing.
"""

import asyncio

import pytest
from hypothesis import HealthCheck, settings

from tests.support.controller import controller, workspace
from tests.support.plane import build_tools, kubectl, namespace, own_plane, plane

__all__ = ["controller", "kubectl", "namespace", "own_plane", "plane", "workspace"]

# The same examples each time, and no verdict on how fast the machine is; --hypothesis-profile=thorough looks further.
settings.register_profile(
    "default",
    max_examples=200,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=3000, derandomize=False)
settings.load_profile("default")


def pytest_configure() -> None:
    """Let no test make an event loop by asking for the current one.

    For tests that are not async, looptime asks for it before the test, and Python 3.11 then makes a loop that
    nobody closes, which is reported as an unclosed resource when pytest ends.
    """
    asyncio.set_event_loop(None)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the servers built before the first test that needs them: that may take longer than any test may."""
    build_tools(session.items, session.config)

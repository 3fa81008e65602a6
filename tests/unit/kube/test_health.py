"""Probes tell a process that needs a restart from one that is only busy or starting."""

import asyncio

import aiohttp
import pytest

from controller import metrics
from controller.health import Health, serving
from controller.kube.queue import WorkQueue


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


@pytest.mark.looptime
async def test_a_part_is_alive_while_its_pulse_beats() -> None:
    health = Health()
    pulse = health.pulse("watch", limit=60)
    await asyncio.sleep(60)
    assert health.alive
    pulse.beat()
    await asyncio.sleep(60)
    assert health.alive
    await asyncio.sleep(10)
    assert not health.alive
    assert health.report() == "watch: no sign of life for 70 s (limit 60 s)\nnot alive"


@pytest.mark.looptime
async def test_one_silent_part_is_enough() -> None:
    health = Health()
    health.watch("queue", lambda: 0.0, limit=300)
    health.watch("watch", lambda: 700.0, limit=600)
    assert not health.alive
    assert "queue: ok" in health.report()


@pytest.mark.looptime
async def test_a_backlog_is_healthy_and_a_stuck_queue_is_not() -> None:
    queue: WorkQueue[str] = WorkQueue("test")
    health = Health()
    health.watch("queue", queue.stalled_for, limit=300)
    for number in range(1000):
        queue.add(str(number))

    async def process(_: str) -> None:
        await asyncio.sleep(1)

    run = asyncio.create_task(queue.run(process, workers=1))
    await asyncio.sleep(500)
    assert health.alive
    run.cancel()
    await asyncio.wait({run})
    await asyncio.sleep(400)
    assert not health.alive


async def test_healthz_over_http() -> None:
    health = Health()
    silence = 0.0
    health.watch("queue", lambda: silence, limit=300)
    async with serving(health, address="127.0.0.1", port=0) as port:
        assert await get(port, "/healthz") == (200, "queue: ok (limit 300 s)\nalive\n")
        silence = 301
        status, text = await get(port, "/healthz")
    assert status == 503
    assert "queue: no sign of life for 301 s" in text


async def test_readyz_over_http() -> None:
    health = Health()
    async with serving(health, address="127.0.0.1", port=0) as port:
        assert await get(port, "/readyz") == (503, "not ready: starting\n")
        health.not_ready_because = None
        assert await get(port, "/readyz") == (200, "ready\n")


async def test_metrics_over_http() -> None:
    metrics.DAGS.labels("Running").set(3)
    queue: WorkQueue[str] = WorkQueue("probed")
    queue.add("a")
    async with serving(Health(), address="127.0.0.1", port=0) as port:
        status, text = await get(port, "/metrics")
    assert status == 200
    assert 'bacalhau_dags{phase="Running"} 3.0' in text
    assert 'bacalhau_dag_queue_depth{queue="probed"} 1.0' in text
    assert "process_resident_memory_bytes" in text


async def test_a_taken_port_is_an_error() -> None:
    async with serving(Health(), address="127.0.0.1", port=0) as port:
        with pytest.raises(OSError, match="address already in use"):
            async with serving(Health(), address="127.0.0.1", port=port):
                pytest.fail("two servers on one port")

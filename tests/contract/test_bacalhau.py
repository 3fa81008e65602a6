"""What the operator relies on in Bacalhau, asked of the real server and of the one in memory alike."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from controller.api.bacalhau import META_SPEC_HASH, ComputeState, Job, JobState
from controller.bacalhau.client import canonical_json
from controller.bacalhau.errors import Conflict, NameTaken, Refused
from controller.bacalhau.submission import ensure_job
from tests.contract.servers import Server

IMPOSSIBLE = {"CPU": "100000", "Memory": "64Mb"}


async def until(server: Server, job_id: str, satisfied: Callable[[Job], bool]) -> Job:
    """Wait until the job is as it should be."""
    async with asyncio.timeout(60):
        while True:
            job = await server.client.get(job_id, namespace=server.namespace, executions=True)
            if job is not None and satisfied(job):
                return job
            await asyncio.sleep(0.02)


async def until_ended(server: Server, job_id: str) -> Job:
    """Wait for the end of the job."""
    return await until(server, job_id, lambda job: job.state.is_terminal)


def waiting_job(server: Server, name: str = "impossible-1") -> dict[str, Any]:
    """A job that no node has room for."""
    job = server.job(name)
    job["Tasks"][0]["Resources"] = IMPOSSIBLE
    return job


async def raw(server: Server, method: str, path: str, **options: Any) -> tuple[int, Any]:
    """An answer as it is on the wire."""
    answer = await server.channel.request(method, path, operation="raw", **options)
    return answer.status, json.loads(answer.body)


async def test_a_job_completes_and_shows_its_execution(server: Server) -> None:
    before = time.time()
    job = await until_ended(server, await server.client.submit(server.job()))
    assert job.state is JobState.COMPLETED
    assert (job.name, job.namespace, job.type, job.version) == ("job-1", server.namespace, "batch", 1)
    assert job.id.startswith("j-")
    assert before - 5 < job.created_at <= job.modified_at < time.time() + 5
    assert job.executions is not None
    execution = job.executions[-1]
    assert execution.compute_state is ComputeState.COMPLETED
    assert execution.job_version == 1
    assert execution.published_result is None
    assert execution.run_output is not None
    assert execution.run_output.exit_code == -1


async def test_our_meta_and_labels_are_kept(server: Server) -> None:
    meta = {META_SPEC_HASH: "h", "dag.bacalhau.org/node": "count"}
    job_id = await server.client.submit(server.job(Meta=meta, Labels={"dag.bacalhau.org/dag": "d"}))
    job = await server.client.get(job_id, namespace=server.namespace)
    assert job is not None
    assert meta.items() <= job.meta.items()
    assert job.labels == {"dag.bacalhau.org/dag": "d"}


async def test_meta_in_bacalhaus_own_prefix_is_dropped(server: Server) -> None:
    job_id = await server.client.submit(server.job(Meta={"bacalhau.org/ours": "x", META_SPEC_HASH: "h"}))
    job = await server.client.get(job_id, namespace=server.namespace)
    assert job is not None
    assert "bacalhau.org/ours" not in job.meta


@pytest.mark.parametrize("ended", [False, True])
async def test_the_same_job_again_is_a_conflict_and_changes_nothing(server: Server, ended: bool) -> None:
    job_id = await server.client.submit(server.job())
    if ended:
        await until_ended(server, job_id)
    with pytest.raises(Conflict, match=f"no changes detected.*{job_id}"):
        await server.client.submit(server.job())
    job = await until_ended(server, job_id)
    assert job.version == 1
    assert len(job.executions or ()) == 1


async def test_another_job_of_the_name_is_an_update_that_runs_again(server: Server) -> None:
    job_id = await server.client.submit(server.job())
    await until_ended(server, job_id)
    assert await server.client.submit(server.job(Labels={"dag": "other"})) == job_id
    job = await until(server, job_id, lambda job: job.version == 2 and job.state.is_terminal)
    assert job.labels == {"dag": "other"}


async def test_names_are_free_in_every_namespace(server: Server) -> None:
    first = await server.client.submit(server.job())
    other = server.job() | {"Namespace": server.namespace + "-other"}
    assert await server.client.submit(other) != first


async def test_concurrent_submissions_of_one_job_make_one_job(server: Server) -> None:
    submitted = await asyncio.gather(
        *(ensure_job(server.client, server.job(), doubtful=False) for _ in range(8))
    )
    assert len({one.job_id for one in submitted}) == 1
    job = await until_ended(server, submitted[0].job_id)
    assert job.version == 1
    assert len(await server.client.list_all(server.namespace)) == 1


async def test_what_is_there_is_adopted_and_what_is_other_is_left_alone(server: Server) -> None:
    job_id = await server.client.submit(server.job(spec_hash="ours"))
    adopted = await ensure_job(server.client, server.job(spec_hash="ours"), doubtful=True)
    assert (adopted.job_id, adopted.adopted) == (job_id, True)
    with pytest.raises(NameTaken):
        await ensure_job(server.client, server.job(spec_hash="theirs"), doubtful=True)
    job = await until_ended(server, job_id)
    assert job.version == 1


async def test_look_ups_by_id_and_by_name(server: Server) -> None:
    job_id = await server.client.submit(server.job())
    for reference in (job_id, "job-1"):
        job = await server.client.get(reference, namespace=server.namespace)
        assert job is not None
        assert job.id == job_id
    assert await server.client.get("job-1", namespace=server.namespace + "-other") is None
    assert await server.client.get("job-2", namespace=server.namespace) is None
    assert (
        await server.client.get("j-00000000-0000-4000-8000-000000000000", namespace=server.namespace) is None
    )


async def test_look_ups_on_the_wire(server: Server) -> None:
    job_id = await server.client.submit(server.job())
    jobs, here = "api/v1/orchestrator/jobs", {"namespace": server.namespace}
    status, error = await raw(server, "GET", f"{jobs}/no-such-job", params=here)
    assert (status, error["Code"], error["Component"]) == (404, "NotFound", "JobStore")
    status, error = await raw(server, "GET", "api/v1/no-such-thing")
    assert (status, error["Code"], error["Component"]) == (404, "NotFound", "APIServer")
    status, answer = await raw(server, "GET", f"{jobs}/{job_id[:20]}", params={"namespace": "elsewhere"})
    assert (status, answer["Job"]["ID"]) == (200, job_id)
    await server.client.submit(server.job("job-2"))
    status, error = await raw(server, "GET", f"{jobs}/j-", params=here)
    assert (status, error["Code"]) == (500, "MultipleJobsFound")


async def test_states_on_the_wire_are_words_for_jobs_and_numbers_for_executions(server: Server) -> None:
    job_id = await server.client.submit(server.job())
    await until_ended(server, job_id)
    _, answer = await raw(
        server,
        "GET",
        f"api/v1/orchestrator/jobs/{job_id}",
        params={"namespace": server.namespace, "include": "executions"},
    )
    assert answer["Job"]["State"]["StateType"] == "Completed"
    (execution,) = answer["Executions"]["Items"]
    assert execution["ComputeState"]["StateType"] == 9
    assert execution["PublishedResult"]["Type"] == ""
    assert execution["RunOutput"].keys() >= {"Stdout", "stderr", "ExitCode", "ErrorMsg", "StdoutTruncated"}


async def test_a_job_without_room_waits_and_can_be_stopped(server: Server) -> None:
    job_id = await server.client.submit(waiting_job(server))
    job = await until(server, job_id, lambda job: job.state in (JobState.QUEUED, JobState.PENDING))
    await server.client.stop(job_id, namespace=server.namespace, reason="The DAG was deleted.")
    job = await until_ended(server, job_id)
    assert (job.state, job.state_message) == (JobState.STOPPED, "The DAG was deleted.")
    await server.client.stop(job_id, namespace=server.namespace, reason="again")
    job = await until_ended(server, job_id)
    assert job.state_message == "The DAG was deleted."


async def test_stopping_what_has_ended_or_never_was_is_fine(server: Server) -> None:
    job_id = await server.client.submit(server.job())
    await until_ended(server, job_id)
    await server.client.stop(job_id, namespace=server.namespace, reason="late")
    await server.client.stop(
        "j-00000000-0000-4000-8000-000000000000", namespace=server.namespace, reason="no"
    )
    assert (await until_ended(server, job_id)).state is JobState.COMPLETED


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"Type": "batsch"}, "type"), ({"Tasks": []}, "task")],
)
async def test_what_is_not_a_job_is_refused_with_a_reason(
    server: Server, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(Refused, match=words):
        await server.client.submit(server.job(**fields))


async def test_result_paths_need_a_publisher(server: Server) -> None:
    job = server.job()
    job["Tasks"][0]["ResultPaths"] = [{"Name": "outputs", "Path": "/outputs"}]
    with pytest.raises(Refused, match="publisher"):
        await server.client.submit(job)


async def test_lists_come_in_order_page_by_page(server: Server) -> None:
    names = [f"job-{i}" for i in range(7)]
    for name in names:
        await until_ended(server, await server.client.submit(server.job(name)))
    pages = [page async for page in server.client.list_newest(server.namespace, page_size=3)]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [job.name for page in pages for job in page] == names[::-1]
    assert [job.name for job in await server.client.list_all(server.namespace)] == names
    assert all(job.executions is None for page in pages for job in page)


async def test_a_change_moves_a_job_to_the_front_of_the_list(server: Server) -> None:
    first = await server.client.submit(waiting_job(server, "impossible-1"))
    second = await server.client.submit(waiting_job(server, "impossible-2"))
    await until(server, first, lambda job: job.state is not JobState.UNDEFINED)
    await until(server, second, lambda job: job.state is not JobState.UNDEFINED)
    await server.client.stop(first, namespace=server.namespace, reason="")
    pages = [page async for page in server.client.list_newest(server.namespace, page_size=0)]
    assert pages[0][0].state is JobState.STOPPED
    assert pages[0][0].id == first


async def test_an_empty_namespace_lists_nothing(server: Server) -> None:
    assert [page async for page in server.client.list_newest(server.namespace)] == []


async def test_a_job_for_nobody_completes_at_once(server: Server) -> None:
    job = await until_ended(server, await server.client.submit(server.job(Count=0)))
    assert job.state is JobState.COMPLETED


async def test_the_server_says_who_it_is(server: Server) -> None:
    assert await server.client.alive()
    assert (await server.client.version()).startswith("v1.")
    nodes = [node for node in await server.client.nodes() if node.is_connected_compute]
    assert nodes
    assert all(node.id and node.cpu > 0 for node in nodes)
    assert all(node.connected_since is not None and node.connected_since < time.time() + 1 for node in nodes)


async def test_a_body_is_accepted_as_the_client_writes_it(server: Server) -> None:
    body = canonical_json({"Force": False, "Job": server.job(Labels={"läufer": "ü <&>"})})
    status, answer = await raw(server, "PUT", "api/v1/orchestrator/jobs", body=body)
    assert status == 200
    job = await server.client.get(answer["JobID"], namespace=server.namespace)
    assert job is not None
    assert job.labels == {"läufer": "ü <&>"}

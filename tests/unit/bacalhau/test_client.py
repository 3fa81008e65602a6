"""The client's answers to what Bacalhau's API does, its habits and its errors."""

import pytest

from controller.api.bacalhau import ComputeState, JobState
from controller.bacalhau.client import canonical_json
from controller.bacalhau.errors import (
    AnswerTooLarge,
    BacalhauError,
    Conflict,
    Forbidden,
    RateLimited,
    Refused,
    ServerError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)
from controller.bacalhau.http import Bearer
from tests.support.bacalhau_jobs import a_job
from tests.support.fake_bacalhau import FakeBacalhau, Fate

JOBS = "/api/v1/orchestrator/jobs"


async def test_executions_come_oldest_first_and_only_when_asked_for() -> None:
    fake = FakeBacalhau()
    client = fake.client()
    job_id = await client.submit(a_job())
    fake.queue("job-1", failed_executions=("disk full",))
    fake.complete("job-1", exit_code=7)
    assert (await client.get(job_id, namespace="run-1")).executions is None  # type: ignore[union-attr]
    job = await client.get(job_id, namespace="run-1", executions=True)
    assert job is not None
    assert job.executions is not None
    assert [execution.compute_state for execution in job.executions] == [
        ComputeState.FAILED,
        ComputeState.COMPLETED,
    ]


async def test_a_prefix_of_an_id_is_not_the_job() -> None:
    fake = FakeBacalhau()
    client = fake.client()
    job_id = await client.submit(a_job())
    assert await client.get(job_id[:12], namespace="run-1") is None
    await client.submit(a_job("job-2"))
    assert await client.get("j-", namespace="run-1") is None


async def test_a_name_counts_in_its_namespace_only() -> None:
    fake = FakeBacalhau()
    client = fake.client()
    await client.submit(a_job(namespace="here"))
    assert await client.get("job-1", namespace="there") is None
    assert await client.get("job-1", namespace="here") is not None


@pytest.mark.parametrize("size", [0, 1, 3, 100])
async def test_pages_come_newest_first(size: int) -> None:
    now = 1000.0
    fake = FakeBacalhau(clock=lambda: now)
    client = fake.client()
    for i in range(7):
        now += 1
        await client.submit(a_job(f"job-{i}"))
    now += 1
    fake.start("job-2")
    pages = [page async for page in client.list_newest("run-1", page_size=size)]
    assert [job.name for page in pages for job in page] == [f"job-{i}" for i in (2, 6, 5, 4, 3, 1, 0)]
    assert {len(page) for page in pages[:-1]} <= {size}


async def test_an_empty_namespace_has_no_pages() -> None:
    client = FakeBacalhau().client()
    assert [page async for page in client.list_newest("nothing")] == []
    assert await client.list_all("nothing") == ()


async def test_list_all_is_not_upset_by_changes_between_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.bacalhau.client.PAGE_SIZES", (2,))
    now = 1000.0
    fake = FakeBacalhau(clock=lambda: now)
    client = fake.client()
    for i in range(5):
        now += 1
        await client.submit(a_job(f"job-{i}"))
    assert [job.name for job in await client.list_all("run-1")] == [f"job-{i}" for i in range(5)]


async def test_list_all_takes_smaller_pages_when_jobs_are_large() -> None:
    now = 1000.0
    fake = FakeBacalhau(clock=lambda: now)
    client = fake.client(max_answer_bytes=20_000)
    for i in range(60):
        now += 1
        await client.submit(a_job(f"job-{i}", Labels={"large": "x" * 2_000}))
    assert len(await client.list_all("run-1")) == 60


async def test_jobs_that_are_too_large_to_be_listed_are_told() -> None:
    client = FakeBacalhau().client(max_answer_bytes=1_000)
    await client.submit(a_job(Labels={"large": "x" * 2_000}))
    with pytest.raises(AnswerTooLarge, match="run-1"):
        await client.list_all("run-1")


@pytest.mark.parametrize("ending", ["complete", "fail", "lose", "stop"])
async def test_stopping_what_has_ended_is_fine(ending: str) -> None:
    fake = FakeBacalhau()
    client = fake.client()
    job_id = await client.submit(a_job())
    if ending == "stop":
        await client.stop(job_id, namespace="run-1", reason="first")
    else:
        getattr(fake, ending)("job-1")
    await client.stop(job_id, namespace="run-1", reason="second")
    job = await client.get(job_id, namespace="run-1")
    assert job is None or job.state_message != "second"


async def test_the_reason_of_a_stop_ends_up_in_the_job() -> None:
    fake = FakeBacalhau()
    client = fake.client()
    job_id = await client.submit(a_job())
    await client.stop(job_id, namespace="run-1", reason="The DAG was deleted.")
    job = await client.get(job_id, namespace="run-1")
    assert job is not None
    assert (job.state, job.state_message) == (JobState.STOPPED, "The DAG was deleted.")


async def test_nodes_version_and_life() -> None:
    fake = FakeBacalhau(clock=lambda: 1_700_000_000.0)
    client = fake.client()
    (node,) = await client.nodes()
    assert node.is_connected_compute
    assert (node.connected_since, node.cpu) == (1_700_000_000.0, 1.6)
    assert await client.version() == "v1.9.3"
    assert await client.alive()
    fake.down = True
    assert not await client.alive()


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (400, '{"Message": "job type is required."}', Refused),
        (401, '{"Message": "Request Unauthorized"}', Unauthorized),
        (403, '{"Message": "Request Forbidden"}', Forbidden),
        (404, '{"Message": "no such URL", "Component": "APIServer"}', UnexpectedAnswer),
        (409, '{"Message": "job name a already exists", "Code": "ResourceInUse"}', Conflict),
        (413, '{"Message": "Request Entity Too Large"}', Refused),
        (429, '{"Message": "rate limit exceeded"}', RateLimited),
        (500, '{"Message": "no changes detected for new job spec. Job Name: a"}', Conflict),
        (500, '{"Message": "Internal server error"}', ServerError),
        (502, "<html>Bad Gateway</html>", Unavailable),
        (503, "Server Timeout!", Unavailable),
        (200, "<html>Welcome</html>", UnexpectedAnswer),
        (200, '{"JobID": null}', UnexpectedAnswer),
    ],
)
async def test_errors_are_told_apart_and_name_the_server(
    status: int, text: str, expected: type[BacalhauError]
) -> None:
    fake = FakeBacalhau()
    fake.fault(status=status, text=text)
    with pytest.raises(BacalhauError) as caught:
        await fake.client().submit(a_job())
    assert type(caught.value) is expected
    assert "Bacalhau at http://bacalhau.test:1234" in str(caught.value)
    assert str(caught.value).endswith(".")


async def test_a_refusal_carries_the_servers_own_words() -> None:
    with pytest.raises(Refused, match="invalid job type: batsch"):
        await FakeBacalhau().client().submit(a_job(Type="batsch"))


async def test_wrong_credentials() -> None:
    fake = FakeBacalhau(auth=Bearer("right"))
    right = fake.client()
    fake._auth = Bearer("changed")
    with pytest.raises(Unauthorized, match=r"spec\.auth"):
        await right.nodes()


@pytest.mark.parametrize("fault", [{"lose_answer": True}, {"status": 503}, {"status": 429}, {"status": 500}])
@pytest.mark.looptime
async def test_looks_are_repeated(fault: dict[str, object]) -> None:
    fake = FakeBacalhau()
    fake.fault(times=2, **fault)
    assert await fake.client().nodes()
    assert len(fake.requests) == 3


@pytest.mark.looptime
async def test_looks_are_not_repeated_for_ever() -> None:
    fake = FakeBacalhau()
    fake.down = True
    with pytest.raises(Unreachable):
        await fake.client().nodes()
    assert len(fake.requests) == 3


async def test_a_submission_is_never_repeated_by_the_client() -> None:
    fake = FakeBacalhau()
    fake.fault(method="PUT", lose_answer=True)
    with pytest.raises(Unreachable):
        await fake.client().submit(a_job())
    assert fake.requests == [("PUT", JOBS)]
    assert len(fake.jobs) == 1


async def test_equal_jobs_have_equal_bodies() -> None:
    fake = FakeBacalhau()
    client = fake.client()
    await client.submit({"Name": "a", **a_job(Labels={"x": "1", "y": "ü"})})
    with pytest.raises(Conflict):
        await client.submit(a_job(Labels={"y": "ü", "x": "1"}) | {"Name": "job-1"})
    assert fake.bodies[0] == fake.bodies[1]


def test_numbers_without_a_spelling_are_refused() -> None:
    with pytest.raises(Refused, match="number"):
        canonical_json({"a": float("nan")})


async def test_the_fake_runs_jobs_by_a_script_and_a_clock() -> None:
    now = 100.0
    fake = FakeBacalhau(
        clock=lambda: now, script=lambda job: Fate(starts_after=1.0, ends_after=2.0, exit_code=3)
    )
    client = fake.client()
    job_id = await client.submit(a_job())
    states = []
    for age in (0.5, 1.5, 2.5):
        now = 100.0 + age
        job = await client.get(job_id, namespace="run-1")
        states.append(job and job.state)
    assert states == [JobState.PENDING, JobState.RUNNING, JobState.COMPLETED]


async def test_the_fake_can_be_served_on_a_socket() -> None:
    async with FakeBacalhau().serve() as fake:
        assert fake.url.startswith("http://127.0.0.1:")
        assert await fake.client().alive()

"""Exactly once: whatever happens around a submission, the job runs once and nobody else's is touched."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from controller.api.bacalhau import META_SPEC_HASH
from controller.bacalhau.cids import canonical
from controller.bacalhau.errors import (
    BacalhauError,
    InputUnresolved,
    JobTooLarge,
    NameTaken,
    Refused,
    ServerError,
    Transient,
    Unauthorized,
    Unreachable,
)
from controller.bacalhau.http import Bearer
from controller.bacalhau.ipfs import IpfsApi
from controller.bacalhau.submission import MAX_JOB_BYTES, Submitted, ensure_job, prepare
from tests.support.bacalhau_jobs import a_job
from tests.support.fake_bacalhau import FakeBacalhau
from tests.support.fake_kubo import FakeKubo

pytestmark = pytest.mark.looptime

CID = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
PART = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


def a_consumer(*references: str) -> dict[str, Any]:
    """A job that mounts these references from IPFS."""
    job = a_job()
    job["Tasks"][0]["InputSources"] = [
        {"Source": {"Type": "ipfs", "Params": {"CID": reference}}, "Target": f"/inputs/{i}"}
        for i, reference in enumerate(references)
    ]
    return job


def mounted(job: Any) -> list[str]:
    """The CIDs that a job mounts, as it spells them."""
    return [source["Source"]["Params"]["CID"] for source in job["Tasks"][0]["InputSources"]]


def puts(fake: FakeBacalhau) -> list[bytes]:
    """The bodies of all submissions."""
    return [body for (method, _), body in zip(fake.requests, fake.bodies, strict=True) if method == "PUT"]


async def test_a_new_job_costs_one_request() -> None:
    fake = FakeBacalhau()
    submitted = await ensure_job(fake.client(), a_job(), doubtful=False)
    assert submitted == Submitted(job_id=fake.job("job-1").id, adopted=False)
    assert len(fake.requests) == 1


async def test_in_doubt_it_looks_before_it_submits() -> None:
    fake = FakeBacalhau()
    submitted = await ensure_job(fake.client(), a_job(), doubtful=True)
    assert not submitted.adopted
    assert [method for method, _ in fake.requests] == ["GET", "PUT"]


async def test_in_doubt_what_is_there_is_adopted() -> None:
    fake = FakeBacalhau()
    first = await ensure_job(fake.client(), a_job(), doubtful=False)
    fake.complete("job-1")
    again = await ensure_job(fake.client(), a_job(), doubtful=True)
    assert (again.job_id, again.adopted) == (first.job_id, True)
    assert again.job is not None
    assert again.job.state == "Completed"
    assert len(puts(fake)) == 1


async def test_a_repetition_without_doubt_is_adopted_too() -> None:
    fake = FakeBacalhau()
    first = await ensure_job(fake.client(), a_job(), doubtful=False)
    again = await ensure_job(fake.client(), a_job(), doubtful=False)
    assert (again.job_id, again.adopted) == (first.job_id, True)
    assert fake.job("job-1").spec["Version"] == 1


FAULTS: list[dict[str, Any]] = [
    {"lose_answer": True},
    {"lose_request": True},
    {"status": 503, "text": "Server Timeout!"},
    {"status": 500, "text": '{"Message": "Internal server error"}'},
    {"status": 429, "text": '{"Message": "rate limit exceeded"}'},
    {"status": 409, "text": '{"Message": "job name already exists", "Code": "ResourceInUse"}'},
]


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("times", [1, 2])
async def test_a_submission_that_goes_wrong_ends_in_one_job(fault: dict[str, Any], times: int) -> None:
    fake = FakeBacalhau()
    fake.fault(method="PUT", times=times, **fault)
    submitted = await ensure_job(fake.client(), a_job(), doubtful=False)
    (job,) = fake.jobs.values()
    assert submitted.job_id == job.id
    assert job.spec["Version"] == 1
    assert len(set(puts(fake))) == 1


async def test_a_submission_that_cannot_be_decided_says_so() -> None:
    fake = FakeBacalhau()
    fake.fault(method="PUT", lose_answer=True)
    fake.fault(method="GET", lose_answer=True, times=10)
    with pytest.raises(Unreachable):
        await ensure_job(fake.client(), a_job(), doubtful=False)
    fake.faults.clear()
    submitted = await ensure_job(fake.client(), a_job(), doubtful=True)
    assert submitted.adopted
    assert len(fake.jobs) == 1


async def test_a_server_that_never_takes_the_job_is_given_up() -> None:
    fake = FakeBacalhau()
    fake.fault(method="PUT", status=503, text="Server Timeout!", times=10)
    with pytest.raises(ServerError, match="Server Timeout"):
        await ensure_job(fake.client(), a_job(), doubtful=False)
    assert len(puts(fake)) == 3


@given(data=st.data())
@settings(max_examples=40, deadline=None)
async def test_whatever_goes_wrong_the_job_runs_once(data: st.DataObject) -> None:
    fake = FakeBacalhau()
    for _ in range(data.draw(st.integers(0, 6))):
        fault = data.draw(st.sampled_from(FAULTS))
        method = "PUT" if fault.get("status") == 409 else data.draw(st.sampled_from(["GET", "PUT"]))
        fake.fault(method=method, **fault)
    submitted = await until_submitted(fake)
    (job,) = fake.jobs.values()
    assert (submitted.job_id, job.spec["Version"]) == (job.id, 1)


async def until_submitted(fake: FakeBacalhau) -> Submitted:
    """Submit as the operator does: again, and with doubt, until it is known to be there."""
    doubtful = False
    while True:
        try:
            return await ensure_job(fake.client(), a_job(), doubtful=doubtful)
        except Transient:
            doubtful = True


@pytest.mark.parametrize("doubtful", [True, False])
@pytest.mark.parametrize("meta", [{META_SPEC_HASH: "other"}, {}])
async def test_another_job_of_the_name_is_left_alone(doubtful: bool, meta: dict[str, str]) -> None:
    fake = FakeBacalhau()
    theirs = a_job(Meta=meta, Labels={"owner": "somebody"})
    job_id = await fake.client().submit(theirs)
    before = dict(fake.jobs[job_id].spec)
    if not doubtful:
        fake.fault(method="PUT", lose_request=True)
    with pytest.raises(NameTaken, match=f"(?s)job-1.*{job_id}"):
        await ensure_job(fake.client(), a_job(), doubtful=doubtful)
    assert fake.jobs[job_id].spec == before


@pytest.mark.parametrize(
    ("job", "expected"),
    [(a_job(Type="batsch"), Refused), (a_job(Tasks=[]), Refused)],
)
async def test_a_job_that_the_server_refuses_is_not_repeated(
    job: dict[str, Any], expected: type[BacalhauError]
) -> None:
    fake = FakeBacalhau()
    with pytest.raises(expected):
        await ensure_job(fake.client(), job, doubtful=False)
    assert len(fake.requests) == 1


async def test_credentials_are_not_tried_again() -> None:
    fake = FakeBacalhau(auth=Bearer("right"))
    client = fake.client()
    fake._auth = Bearer("changed")
    with pytest.raises(Unauthorized):
        await ensure_job(client, a_job(), doubtful=False)
    assert len(fake.requests) == 1


@pytest.mark.parametrize("filling", ["x" * MAX_JOB_BYTES, "<" * (MAX_JOB_BYTES // 6)])
async def test_a_job_that_would_wedge_a_node_is_not_sent(filling: str) -> None:
    fake = FakeBacalhau()
    with pytest.raises(JobTooLarge, match=rf"job-1 .*\d+ bytes of JSON, where {MAX_JOB_BYTES}"):
        await ensure_job(fake.client(), a_job(Meta={META_SPEC_HASH: "h", "big": filling}), doubtful=False)
    assert fake.requests == []


# IPFS inputs


async def test_every_input_has_a_spelling_of_its_own() -> None:
    one = mounted(
        await prepare(a_consumer(CID, CID, "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"), ipfs=None)
    )
    other = mounted(await prepare(a_consumer(CID) | {"Name": "job-2"}, ipfs=None))
    spellings = one + other
    assert len(set(spellings)) == 4
    assert {canonical(cid) for cid in spellings} == {CID}


@pytest.mark.parametrize("reference", [CID, f"ipfs://{CID}", f"/ipfs/{CID}", f"ipfs://{CID}/"])
async def test_references_are_read_as_people_write_them(reference: str) -> None:
    (cid,) = mounted(await prepare(a_consumer(reference), ipfs=None))
    assert canonical(cid) == CID


async def test_preparing_is_repeatable_and_leaves_the_job_alone() -> None:
    job = a_consumer(CID)
    before = json.dumps(job)
    assert await prepare(job, ipfs=None) == await prepare(job, ipfs=None)
    assert json.dumps(job) == before


async def test_other_inputs_are_left_alone() -> None:
    job = a_job()
    assert await prepare(job, ipfs=None) == job


async def test_a_path_inside_a_cid_is_resolved_once() -> None:
    kubo = FakeKubo({f"{CID}/outputs/a.txt": PART})
    ipfs = IpfsApi(kubo.channel())
    job = a_consumer(f"{CID}/outputs/a.txt", f"ipfs://{CID}/outputs/a.txt/")
    assert [canonical(cid) for cid in mounted(await prepare(job, ipfs=ipfs))] == [PART, PART]
    assert len(kubo.requests) == 1


async def test_paths_are_resolved_side_by_side() -> None:
    meeting = asyncio.Barrier(3)

    class Slow(IpfsApi):
        @override
        async def resolve(self, cid: str, path: str) -> str:
            async with asyncio.timeout(1):
                await meeting.wait()
            return PART

    ipfs = Slow(FakeKubo({}).channel())
    job = await prepare(a_consumer(f"{CID}/a", f"{CID}/b", f"{CID}/c"), ipfs=ipfs)
    assert [canonical(cid) for cid in mounted(job)] == [PART] * 3


async def test_a_path_that_leads_nowhere_is_named() -> None:
    ipfs = IpfsApi(FakeKubo({}).channel())
    with pytest.raises(InputUnresolved, match="no entry: outputs/b"):
        await prepare(a_consumer(f"{CID}/outputs/b"), ipfs=ipfs)


async def test_a_path_below_a_file_is_named() -> None:
    kubo = FakeKubo({})
    kubo.trouble = 'func called on wrong kind: "LookupBySegment" called on a bytes node'
    with pytest.raises(InputUnresolved, match=r"no entry: outputs/a\.txt/b"):
        await prepare(a_consumer(f"{CID}/outputs/a.txt/b"), ipfs=IpfsApi(kubo.channel()))


async def test_a_path_without_an_ipfs_api_comes_with_advice() -> None:
    with pytest.raises(InputUnresolved, match=r"spec\.ipfs\.apiURL"):
        await prepare(a_consumer(f"{CID}/outputs"), ipfs=None)


async def test_what_is_not_a_cid_is_refused() -> None:
    with pytest.raises(InputUnresolved, match="'hello' is not a content identifier"):
        await prepare(a_consumer("hello"), ipfs=None)


async def test_an_ipfs_node_in_trouble_is_a_transient_failure() -> None:
    kubo = FakeKubo({})
    kubo.trouble = "block was not found locally (offline)"
    with pytest.raises(Transient, match="not found locally"):
        await prepare(a_consumer(f"{CID}/outputs"), ipfs=IpfsApi(kubo.channel()))


async def test_something_else_than_kubo_is_refused() -> None:
    kubo = FakeKubo({})
    kubo.stranger = True
    with pytest.raises(Refused, match="Kubo"):
        await prepare(a_consumer(f"{CID}/outputs"), ipfs=IpfsApi(kubo.channel()))


async def test_the_ipfs_node_is_asked_again_for_what_was_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.bacalhau.ipfs.REMEMBERED", 2)
    kubo = FakeKubo({f"{CID}/{i}": PART for i in range(3)})
    ipfs = IpfsApi(kubo.channel())
    for name in ("0", "1", "0", "2", "0", "1"):
        assert await ipfs.resolve(CID, name) == PART
    assert kubo.requests == [f"{CID}/{i}" for i in (0, 1, 2, 1)]

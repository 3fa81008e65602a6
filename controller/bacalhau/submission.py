"""Submitting a job exactly once, whatever happens in between.

Bacalhau has no idempotency key but the job's name, which is unique in its namespace for ever. The rule that makes it
enough: PUT only what is certainly not there, or is there byte for byte the same; look whenever in doubt; adopt what
carries one's own hash; never write over anything else. In particular:

- A PUT with an unknown outcome (no answer, 5xx) can still be carried out later. So the world is asked until it
  gives a clear answer, and the same bytes are sent again if the job is not there: should both arrive, the second is
  answered with "no changes detected", and the job runs once.
- An update (same name, other body) would cancel the job and run it again, hence the hash in ``Meta``.

Before a job is sent, its IPFS inputs are put into a form that Bacalhau can mount without harm: paths inside a CID
become the CID of what lies there, the results of a fan-out become one directory (``controller.bacalhau.bundles``), and
every CID is spelled for this attempt alone (``controller.bacalhau.cids``). All of it is repeatable, so a second rendering
gives the same bytes.
"""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controller.api.bacalhau import META_SPEC_HASH, Job
from controller.bacalhau import cids
from controller.bacalhau.bundles import bundle, cid_of, with_cid
from controller.bacalhau.client import BacalhauClient, canonical_json
from controller.bacalhau.concurrency import together
from controller.bacalhau.errors import (
    BacalhauError,
    Conflict,
    InputUnresolved,
    JobTooLarge,
    NameTaken,
    ServerError,
    Transient,
)
from controller.bacalhau.ipfs import MAX_AT_ONCE, IpfsApi

__all__ = ["MAX_JOB_BYTES", "Submitted", "ensure_job", "prepare"]

MAX_JOB_BYTES = 700 * 1024
"""Bacalhau takes 10 MB over HTTP but passes a job on in messages of 1 MiB, with the job's executions around it."""

ATTEMPTS = 3
FIRST_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job that is there. ``job`` is what was seen of it when it was adopted rather than created."""

    job_id: str
    adopted: bool
    job: Job | None = None


async def ensure_job(
    client: BacalhauClient,
    job: Mapping[str, Any],
    *,
    doubtful: bool,
    ipfs: IpfsApi | None = None,
    bundles: Collection[str] = (),
) -> Submitted:
    """Make sure that this job exists, once.

    Args:
        job: The job as Bacalhau takes it, with Name, Namespace and the hash under ``META_SPEC_HASH`` in Meta.
        doubtful: Whether an earlier call may have submitted it already.
        ipfs: Follows paths inside IPFS inputs, and makes directories of several of them.
        bundles: Directories whose inputs, numbered from 0, may be mounted as one.

    Raises:
        Refused: it will never be accepted as it is (``NameTaken``, ``JobTooLarge``, ``InputUnresolved`` among them).
        CredentialsRejected: a person has to act.
        Transient: it could not be found out in a reasonable time; call again with ``doubtful``.
    """
    identity = _Identity.of(job)
    if doubtful and (found := await identity.look(client)):
        return found
    prepared = await prepare(job, ipfs=ipfs, bundles=bundles)
    return await _put_until_decided(client, prepared, identity)


async def _put_until_decided(
    client: BacalhauClient, job: Mapping[str, Any], identity: "_Identity"
) -> Submitted:
    failure: BacalhauError | None = None
    for attempt in range(ATTEMPTS):
        try:
            return Submitted(job_id=await client.submit(job), adopted=False)
        except Conflict as error:
            failure = error
        except Transient as error:
            failure = error
            await asyncio.sleep(FIRST_PAUSE_SECONDS * 2**attempt * random.uniform(0.5, 1.5))
        if found := await identity.look(client):
            return found
    raise ServerError(f"The job was not accepted, nor is it there: {identity.name}. {failure}") from failure


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """What makes a job the one that is meant."""

    name: str
    namespace: str
    spec_hash: str

    @classmethod
    def of(cls, job: Mapping[str, Any]) -> "_Identity":
        return cls(name=job["Name"], namespace=job["Namespace"], spec_hash=job["Meta"][META_SPEC_HASH])

    async def look(self, client: BacalhauClient) -> Submitted | None:
        """The job if it is there, or None.

        Raises:
            NameTaken: another job has the name.
        """
        job = await client.get(self.name, namespace=self.namespace)
        if job is None:
            return None
        if job.meta.get(META_SPEC_HASH) != self.spec_hash:
            raise NameTaken(
                f"{client} has another job of the name {self.name} in the namespace {self.namespace}: {job.id}. "
                "It was left alone. Names of jobs cannot be freed: run the DAG again under another name."
            )
        return Submitted(job_id=job.id, adopted=True, job=job)


async def prepare(
    job: Mapping[str, Any], *, ipfs: IpfsApi | None, bundles: Collection[str] = ()
) -> Mapping[str, Any]:
    """The job as it is sent: IPFS inputs resolved, bundled and spelled for this job alone, its size checked.

    Raises:
        InputUnresolved: an IPFS input is not a CID, or names a path that cannot be followed.
        JobTooLarge: the job would be too large for Bacalhau to pass on.
        Transient: the IPFS node does not answer.
    """
    tasks = [
        await _prepared_task(task, salt=job["Name"], ipfs=ipfs, bundles=bundles)
        for task in job.get("Tasks") or ()
    ]
    prepared = {**job, "Tasks": tasks}
    _check_size(prepared)
    return prepared


async def _prepared_task(
    task: Mapping[str, Any], *, salt: str, ipfs: IpfsApi | None, bundles: Collection[str]
) -> Mapping[str, Any]:
    sources = task.get("InputSources")
    if not sources:
        return task
    resolved: Sequence[Mapping[str, Any]] = await _resolved_inputs(sources, ipfs=ipfs)
    for directory in bundles:
        resolved = await bundle(resolved, directory, ipfs) if ipfs else resolved
    spelled = [_spelled(entry, salt=f"{salt}/{index}") for index, entry in enumerate(resolved)]
    return {**task, "InputSources": spelled}


def _spelled(entry: Mapping[str, Any], *, salt: str) -> Mapping[str, Any]:
    cid = cid_of(entry)
    return entry if cid is None else with_cid(entry, cids.spell(cid, salt))


async def _resolved_inputs(
    sources: Sequence[Mapping[str, Any]], *, ipfs: IpfsApi | None
) -> Sequence[Mapping[str, Any]]:
    places = asyncio.Semaphore(MAX_AT_ONCE)

    async def resolved(entry: Mapping[str, Any]) -> Mapping[str, Any]:
        async with places:
            return await _resolved_input(entry, ipfs=ipfs)

    return await together(resolved(entry) for entry in sources)


async def _resolved_input(entry: Mapping[str, Any], *, ipfs: IpfsApi | None) -> Mapping[str, Any]:
    """The input with the canonical CID of what it mounts, if it is one from IPFS."""
    reference = cid_of(entry)
    if reference is None:
        return entry
    cid = await _resolved(reference, ipfs=ipfs)
    return with_cid(entry, cid)


async def _resolved(reference: str, *, ipfs: IpfsApi | None) -> str:
    root, _, path = reference.removeprefix("ipfs://").removeprefix("/ipfs/").partition("/")
    try:
        cid = cids.canonical(root)
    except ValueError as error:
        raise InputUnresolved(f"The input from IPFS cannot be read: {error}.") from error
    return cids.canonical(await _followed(cid, path, ipfs=ipfs)) if path.strip("/") else cid


async def _followed(cid: str, path: str, *, ipfs: IpfsApi | None) -> str:
    if ipfs is None:
        raise InputUnresolved(
            f"Bacalhau mounts whole CIDs only, and the input names a part of one: {cid}/{path}. Set spec.ipfs.apiURL "
            "of the BacalhauConnection so that the operator can look the part up, or mount the whole result, "
            "or publish to S3."
        )
    return await ipfs.resolve(cid, path)


def _check_size(job: Mapping[str, Any]) -> None:
    size = _passed_on_bytes(canonical_json(job))
    if size > MAX_JOB_BYTES:
        raise JobTooLarge(
            f"The job {job['Name']} is too large: {size} bytes of JSON, where {MAX_JOB_BYTES} are allowed, since larger "
            "ones can block a compute node. Move inline inputs to IPFS, S3 or a URL."
        )


def _passed_on_bytes(body: bytes) -> int:
    """The size of the JSON as Go writes it on, with <, > and & as escapes of six bytes."""
    return len(body) + 5 * sum(body.count(character) for character in (b"<", b">", b"&"))

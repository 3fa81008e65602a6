"""Published results: how Bacalhau reports them, how a status shows them, and how a later job mounts them.

An ``Artifact`` holds all that is needed to mount a result, so that a run can go on from its status alone.
"""

from typing import Any

from pydantic import ValidationError

from controller.api.artifact import Artifact
from controller.api.bacalhau import SpecConfig
from controller.engine.problems import RenderError


def artifact_of(published: SpecConfig) -> Artifact | None:
    """Describe what an execution published; nothing if no later job could find it, or a status could not hold it."""
    try:
        return _described(published)
    except ValidationError:
        return None


def _described(published: SpecConfig) -> Artifact | None:
    params = published.params
    match published.type:
        case "ipfs" if params.get("CID"):
            return Artifact(uri=f"ipfs://{params['CID']}", cid=params["CID"])
        case "s3" if params.get("Bucket"):
            return Artifact(
                uri=f"s3://{params['Bucket']}/{params.get('Key', '')}",
                endpoint=params.get("Endpoint") or None,
                region=params.get("Region") or None,
            )
        case "urlDownload" if params.get("URL"):
            return Artifact(uri=params["URL"])
        case _:
            return None


def storage_source(artifact: Artifact, *, output: str | None, field: str, producer: str) -> dict[str, Any]:
    """Give the Bacalhau storage source that mounts a result, or the part of it named by ``output``.

    A part of a result on IPFS is written ``<cid>/<path>``; the submission resolves it to the CID of the part.

    Raises:
        RenderError: this kind of result has no parts that can be mounted.
    """
    if artifact.cid:
        return {"Type": "ipfs", "Params": {"CID": f"{artifact.cid}/{output}" if output else artifact.cid}}
    if artifact.uri.startswith("s3://"):
        return _s3_source(artifact, output=output, field=field, producer=producer)
    if output:
        raise RenderError(
            field,
            f'"{output}" cannot be mounted alone: the result of node "{producer}" is one archive at '
            f"{artifact.uri}. Leave output out, or publish to ipfs or s3.",
        )
    return {"Type": "urlDownload", "Params": {"URL": artifact.uri}}


def part_of(artifact: Artifact, output: str | None) -> Artifact:
    """Give the address of a part of a result. On IPFS the part has no CID of its own before it is resolved."""
    if not output:
        return artifact
    separator = "" if artifact.uri.endswith("/") else "/"
    return artifact.model_copy(update={"uri": f"{artifact.uri}{separator}{output}", "cid": None})


def _s3_source(artifact: Artifact, *, output: str | None, field: str, producer: str) -> dict[str, Any]:
    bucket, _, key = artifact.uri.removeprefix("s3://").partition("/")
    if output and not key.endswith("/"):
        raise RenderError(
            field,
            f'"{output}" cannot be mounted alone: the result of node "{producer}" is one archive at '
            f"{artifact.uri}. Leave output out, or set Encoding: plain on its s3 publisher.",
        )
    params = {
        "Bucket": bucket,
        "Key": f"{key}{output.strip('/')}/*" if output else key,
        "Region": artifact.region,
        "Endpoint": artifact.endpoint,
    }
    return {"Type": "s3", "Params": {name: value for name, value in params.items() if value}}

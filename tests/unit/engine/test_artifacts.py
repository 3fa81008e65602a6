"""Published results, and the storage sources that mount them."""

from typing import Any

import pytest

from controller.api.artifact import Artifact
from controller.api.bacalhau import SpecConfig
from controller.engine.artifacts import artifact_of, part_of, storage_source
from controller.engine.problems import RenderError

S3 = {"Bucket": "results", "Region": "us-east-1", "Endpoint": "http://127.0.0.1:9000"}
PLAIN = Artifact(uri="s3://results/runs/j-1/", region="us-east-1", endpoint="http://127.0.0.1:9000")
GZIP = Artifact(uri="s3://results/runs/j-1.tar.gz", region="us-east-1")
LOCAL = Artifact(uri="http://10.0.0.1:6001/e-1.tar.gz")
IPFS = Artifact(uri="ipfs://QmX", cid="QmX")


@pytest.mark.parametrize(
    ("uri", "cid"),
    [
        ("ipfs://QmX", "QmX"),
        ("ipfs://QmX/outputs", None),
        ("ipfs://", None),
        ("s3://results/QmX", None),
        ("http://ipfs.example.com/ipfs/QmX", None),
    ],
)
def test_the_cid_may_be_left_to_the_uri(uri: str, cid: str | None) -> None:
    assert Artifact.model_validate({"uri": uri}).cid == cid
    assert Artifact.model_validate({"uri": uri, "cid": "QmY"}).cid == "QmY"


def source(artifact: Artifact, output: str | None = None) -> dict[str, Any]:
    return storage_source(artifact, output=output, field="spec.nodes[b].inputs[0].output", producer="a")


@pytest.mark.parametrize(
    ("published", "artifact"),
    [
        (SpecConfig(type="ipfs", params={"CID": "QmX"}), IPFS),
        (
            SpecConfig(type="s3", params=S3 | {"Key": "runs/j-1/", "VersionID": "v", "ChecksumSHA256": "c"}),
            PLAIN,
        ),
        (
            SpecConfig(
                type="s3",
                params={"Bucket": "results", "Key": "runs/j-1.tar.gz", "Region": "us-east-1", "Endpoint": ""},
            ),
            GZIP,
        ),
        (SpecConfig(type="urlDownload", params={"URL": LOCAL.uri}), LOCAL),
        (SpecConfig(type="s3managed", params={"JobID": "j-1"}), None),
        (SpecConfig(type="s3", params={"Bucket": "b", "Key": "k/", "Region": "x" * 100}), None),
        (SpecConfig(type="ipfs", params={"CID": 7}), None),
        (SpecConfig(type="ipfs"), None),
        (SpecConfig(), None),
    ],
)
def test_what_was_published_is_described(published: SpecConfig, artifact: Artifact | None) -> None:
    assert artifact_of(published) == artifact


@pytest.mark.parametrize(
    ("artifact", "output", "expected"),
    [
        (IPFS, None, {"Type": "ipfs", "Params": {"CID": "QmX"}}),
        (IPFS, "outputs", {"Type": "ipfs", "Params": {"CID": "QmX/outputs"}}),
        (PLAIN, None, {"Type": "s3", "Params": S3 | {"Key": "runs/j-1/"}}),
        (PLAIN, "outputs", {"Type": "s3", "Params": S3 | {"Key": "runs/j-1/outputs/*"}}),
        (PLAIN, "outputs/a/", {"Type": "s3", "Params": S3 | {"Key": "runs/j-1/outputs/a/*"}}),
        (
            GZIP,
            None,
            {"Type": "s3", "Params": {"Bucket": "results", "Key": "runs/j-1.tar.gz", "Region": "us-east-1"}},
        ),
        (LOCAL, None, {"Type": "urlDownload", "Params": {"URL": LOCAL.uri}}),
    ],
)
def test_a_result_is_mounted(artifact: Artifact, output: str | None, expected: dict[str, Any]) -> None:
    assert source(artifact, output) == expected


def test_a_key_is_taken_letter_by_letter() -> None:
    published = SpecConfig(type="s3", params={"Bucket": "b", "Key": "a?b#c%20d/é/"})
    artifact = artifact_of(published)
    assert artifact
    assert source(artifact)["Params"] == {"Bucket": "b", "Key": "a?b#c%20d/é/"}


@pytest.mark.parametrize("artifact", [GZIP, LOCAL])
def test_no_part_of_an_archive_can_be_mounted(artifact: Artifact) -> None:
    with pytest.raises(RenderError) as caught:
        source(artifact, "outputs")
    assert str(caught.value).startswith(
        'spec.nodes[b].inputs[0].output: "outputs" cannot be mounted alone: the result of node "a" is one archive at '
        f"{artifact.uri}."
    )


@pytest.mark.parametrize(
    ("artifact", "output", "uri", "cid"),
    [
        (IPFS, None, "ipfs://QmX", "QmX"),
        (IPFS, "outputs", "ipfs://QmX/outputs", None),
        (PLAIN, "outputs", "s3://results/runs/j-1/outputs", None),
    ],
)
def test_a_part_has_an_address(artifact: Artifact, output: str | None, uri: str, cid: str | None) -> None:
    part = part_of(artifact, output)
    assert (part.uri, part.cid, part.region) == (uri, cid, artifact.region)

"""Where a published result is: what a status shows of it, and what a user may give in its place."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from controller.api.types import Model


class Artifact(Model):
    """Where a published result is."""

    uri: Annotated[str, StringConstraints(max_length=4096)] = Field(
        description="Address of the result: ipfs://…, s3://… or http://…"
    )
    cid: Annotated[str, StringConstraints(max_length=256)] | None = Field(
        None, description="Content identifier of a result on IPFS. Default: the one in the uri."
    )
    endpoint: Annotated[str, StringConstraints(max_length=1024)] | None = Field(
        None, description="Endpoint of the S3 service, when it is not AWS."
    )
    region: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None, description="Region of the S3 bucket."
    )

    @model_validator(mode="before")
    @classmethod
    def _take_cid_from_uri(cls, value: Any) -> Any:
        """Whoever gives a node a result writes ``ipfs://…`` and may leave it at that."""
        if not isinstance(value, dict) or value.get("cid"):
            return value
        scheme, _, cid = str(value.get("uri", "")).partition("://")
        return value | {"cid": cid} if scheme == "ipfs" and cid and "/" not in cid else value

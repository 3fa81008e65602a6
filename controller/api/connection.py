"""``BacalhauConnection``: where jobs go, and with which credentials."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from controller.api.dag import Metadata
from controller.api.references import SecretKeyRef
from controller.api.status import Condition
from controller.api.types import BY_TYPE, Description, Duration, Model, ResourceName, Timestamp

URL = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/@]+(/[^\s]*)?$", max_length=1024)]
BacalhauNamespace = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$", max_length=253)
]


class BasicAuthRef(Model):
    """A Secret of type kubernetes.io/basic-auth, with the keys username and password."""

    name: ResourceName = Field(description="Name of the Secret.")


class Auth(Model):
    """Credentials for Bacalhau's API: an API key (bearer token) or a user with a password."""

    token_secret_ref: SecretKeyRef | None = Field(
        None, description="API key or access token, sent as a bearer token."
    )
    basic_secret_ref: BasicAuthRef | None = Field(
        None, description="User and password: a Secret with the keys username and password."
    )


class TLS(Model):
    """How the server's certificate is checked."""

    ca_secret_ref: SecretKeyRef | None = Field(
        None, description="Certificate authority (PEM) that signed the server's certificate."
    )
    insecure_skip_verify: bool = Field(
        False, description="Accept any certificate. For tests only: credentials can be stolen."
    )


class IPFS(Model):
    """The Kubo RPC API of an IPFS node in the same swarm as the compute nodes."""

    api_url: URL = Field(
        alias="apiURL",
        description="Address of the Kubo RPC API, such as http://kubo:5001. "
        "With it, nodes can mount parts of results on IPFS, results of a fan-out are mounted as one directory, and expressions can read "
        "the files of a result.",
    )


class Limits(Model):
    """How hard the operator may use this Bacalhau."""

    requests_per_second: Annotated[int, Field(ge=1, le=1000)] = Field(
        200,
        description="API requests per second for watching jobs. Default: 200. Bacalhau itself accepts 1000.",
    )
    max_active_jobs: Annotated[int, Field(ge=1, le=100_000)] = Field(
        1000, description="Jobs of all DAGs of this connection that may be unfinished at once. Default: 1000."
    )


class JobDefaults(Model):
    """Timeouts of jobs that do not set their own."""

    queue_timeout: Duration = Field(
        "1h", description="How long a job may wait for a node with room. Default: 1h."
    )
    execution_timeout: Duration = Field("24h", description="How long one execution may take. Default: 24h.")


class ConnectionSpec(Model):
    """Where jobs go, and with which credentials."""

    description: Description | None = Field(None, description="What the connection is for.")
    endpoint: URL = Field(description="Address of Bacalhau's API, such as https://bacalhau.example.com:1234.")
    auth: Auth | None = Field(None, description="Credentials. Default: none.")
    tls: TLS | None = Field(
        None, description="How the server's certificate is checked. Default: the system's CAs."
    )
    bacalhau_namespace: BacalhauNamespace | None = Field(
        None,
        description="Bacalhau namespace for the jobs of all DAGs. Default: each run has one of its own, which keeps "
        "looking at jobs fast however many have run before.",
    )
    ipfs: IPFS | None = Field(None, description="An IPFS node that the operator may ask.")
    limits: Limits = Field(Limits(), description="How hard the operator may use this Bacalhau.")
    job_defaults: JobDefaults = Field(
        JobDefaults(), description="Timeouts of jobs that do not set their own."
    )


class ConnectionStatus(Model):
    """Whether the connection works. Written by the operator alone."""

    observed_generation: int | None = Field(
        None,
        description="Generation of the connection that this status is about; -1 before the operator saw it.",
        json_schema_extra={"default": -1},
    )
    bacalhau_version: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        None, description="Version that Bacalhau reports."
    )
    last_check_time: Timestamp | None = Field(None, description="When the result of the check last changed.")
    conditions: Annotated[list[Condition], Field(max_length=16)] = Field(
        [],
        description="Facts about the connection, for kubectl wait and GitOps tools.",
        json_schema_extra=BY_TYPE,
    )


class BacalhauConnection(Model):
    """A Bacalhau cluster that DAGs of the same namespace may use."""

    api_version: str = Field(description="API version.")
    kind: Literal["BacalhauConnection"] = Field(description="Kind of the resource.")
    metadata: Metadata
    spec: ConnectionSpec = Field(description="Where jobs go, and with which credentials.")
    status: ConnectionStatus | None = Field(
        None, description="Whether the connection works. Written by the operator alone."
    )

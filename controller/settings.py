"""What a site can set, from environment variables that begin with ``BACALHAU_DAG_``.

Few on purpose: what depends on where jobs run belongs to a BacalhauConnection, what depends on a run to its
BacalhauDAG, and the rest is decided by the program.
"""

import secrets
import socket
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _identity() -> str:
    """The host's name, which is the Pod's, and something that no other process on it has."""
    return f"{socket.gethostname()}_{secrets.token_hex(4)}"


class Settings(BaseSettings):
    """The operator's settings; ``Settings()`` reads the environment.

    Raises ``pydantic.ValidationError`` for a value that is not acceptable.
    """

    model_config = SettingsConfigDict(env_prefix="BACALHAU_DAG_", frozen=True)

    namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="The namespaces to watch, separated by commas; all of them if empty."
    )
    workers: int = Field(
        default=16, ge=1, le=256, description="How many DAGs are worked on at the same time, at most."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least severe level that is logged."
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="One readable line for each entry, or one JSON object."
    )
    http_address: str = Field(
        default="0.0.0.0", description="Where /healthz, /readyz and /metrics are served."
    )
    http_port: int = Field(
        default=8080,
        ge=0,
        le=65535,
        description="The port of /healthz, /readyz and /metrics; 0 takes a free one.",
    )
    lease_enabled: bool = Field(
        default=True,
        description="Whether to act only while holding a Lease, so that two operators cannot collide.",
    )
    lease_name: str = Field(
        default="bacalhau-dag-operator", min_length=1, description="The name of the Lease."
    )
    lease_namespace: str | None = Field(
        default=None, description="The Lease's namespace; the operator's own if not set."
    )
    deletion_grace_seconds: float = Field(
        default=120,
        ge=0,
        description="How long a DAG that is deleted waits for its jobs to stop before it is let go anyway.",
    )
    identity: str = Field(
        default_factory=_identity,
        min_length=1,
        description="How this process is named in the Lease and in Events; no two may have the same.",
    )

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(name for name in (part.strip() for part in value.split(",")) if name)
        return value

    @field_validator("lease_namespace", mode="after")
    @classmethod
    def _empty_is_unset(cls, value: str | None) -> str | None:
        return value or None

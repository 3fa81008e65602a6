"""A connection that does not work says why and what to do, on itself and on the DAGs that need it, and recovers without a restart."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dev.plane import ControlPlane
from dev.servers.bacalhau import BacalhauOptions, BacalhauServer
from dev.servers.certificates import Certificate
from dev.servers.process import free_port
from tests.support.dags import manifest, step
from tests.support.workspace import Json, Workspace

pytestmark = pytest.mark.e2e

API_KEY = "a-key-of-more-than-twenty-characters"


@pytest.fixture(scope="module")
def certificate(plane: ControlPlane) -> Certificate:
    """The certificate of the guarded Bacalhau, from an authority of its own."""
    return plane.issue_certificate("guarded")


@pytest.fixture(scope="module")
def guarded(plane: ControlPlane, certificate: Certificate) -> Iterator[BacalhauServer]:
    """A Bacalhau that asks for an API key, over TLS."""
    server = plane.start_bacalhau("guarded", BacalhauOptions(api_key=API_KEY, certificate=certificate))
    yield server
    server.kill()


async def test_a_dag_waits_for_its_connection(workspace: Workspace) -> None:
    workspace.apply(manifest("early", step("only"), connectionRef={"name": "lab"}))

    message = await workspace.hindered("early", "ConnectionNotFound")
    assert message.startswith('There is no BacalhauConnection "lab" in namespace')
    assert "create it, or name another one in spec.connectionRef.name" in message
    assert await workspace.event("ConnectionNotFound", about="early") == message

    workspace.connect("lab")
    await workspace.succeeded("early")


async def test_credentials_are_missing_then_wrong_then_right(
    workspace: Workspace, guarded: BacalhauServer, certificate: Certificate
) -> None:
    """Each time the connection, its DAG and an Event say what to do next; at last the DAG runs."""
    workspace.connect(
        endpoint=guarded.url,
        auth={"tokenSecretRef": {"name": "bacalhau", "key": "token"}},
        tls={"caSecretRef": {"name": "authority", "key": "ca.crt"}},
    )
    workspace.apply(secret("authority", "ca.crt", certificate.authority.read_text()))
    workspace.apply(manifest("guarded", step("only")))

    missing = await workspace.connection("default", reason="SecretNotFound")
    assert missing.startswith("spec.auth.tokenSecretRef: ")
    assert '"bacalhau"' in missing
    assert await workspace.hindered("guarded", "SecretNotFound") == missing
    assert await workspace.event("SecretNotFound", about="default") == missing

    workspace.apply(secret("bacalhau", "token", "not-the-key-of-twenty-characters"))
    wrong = await workspace.connection("default", reason="CredentialsRejected")
    assert "does not accept the credentials" in wrong
    assert "Check spec.auth of the BacalhauConnection and the Secret that it names." in wrong
    assert "not-the-key" not in wrong
    await workspace.hindered("guarded", "CredentialsRejected")

    workspace.apply(secret("bacalhau", "token", API_KEY))
    assert await workspace.connection("default", reason="Connected") == "Bacalhau v1.9.3 answers."
    await workspace.succeeded("guarded")


async def test_an_authority_that_is_not_trusted_is_reported(
    workspace: Workspace, guarded: BacalhauServer, certificate: Certificate
) -> None:
    workspace.apply(secret("bacalhau", "token", API_KEY))
    auth = {"tokenSecretRef": {"name": "bacalhau", "key": "token"}}
    workspace.connect("tls", endpoint=guarded.url, auth=auth)
    workspace.apply(manifest("trusting", step("only"), connectionRef={"name": "tls"}))

    assert "certificate verify failed" in await workspace.connection("tls", reason="BacalhauUnavailable")

    workspace.apply(secret("authority", "ca.crt", certificate.authority.read_text()))
    workspace.connect(
        "tls", endpoint=guarded.url, auth=auth, tls={"caSecretRef": {"name": "authority", "key": "ca.crt"}}
    )
    await workspace.succeeded("trusting")


async def test_an_unreachable_bacalhau_is_reported_until_the_address_is_right(workspace: Workspace) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    workspace.connect(endpoint=nowhere)
    workspace.apply(manifest("patient", step("only")))

    message = await workspace.connection("default", reason="BacalhauUnavailable")
    assert message.startswith(f"Bacalhau at {nowhere} cannot be reached")
    assert "Check the address, the network and that the server runs." in message
    assert await workspace.event("BacalhauUnavailable", about="default") == message
    assert (await workspace.hindered("patient", "BacalhauUnavailable")).startswith(f"Bacalhau at {nowhere}")

    workspace.connect()
    await workspace.succeeded("patient")


async def test_a_connection_to_something_else_says_so(workspace: Workspace) -> None:
    workspace.connect(endpoint=workspace.plane.ipfs.gateway_url)
    assert "BacalhauConnection" in await workspace.connection("default", reason="BacalhauUnavailable")


def secret(name: str, key: str, value: str) -> Json:
    """A Secret of one key."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}}

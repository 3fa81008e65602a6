"""From a BacalhauConnection and its Secrets to an endpoint with credentials."""

from collections.abc import Awaitable, Callable

from controller.api.connection import TLS, Auth, BacalhauConnection
from controller.bacalhau.http import Basic, Bearer, Endpoint
from controller.kube.secrets import SecretMissing
from controller.reconciler.connection import Access, Problem

ReadSecret = Callable[..., Awaitable[str]]
"""Called as ``read(namespace=…, name=…, key=…)``; raises ``SecretMissing``."""


class Unresolved(Exception):
    """Something that is referred to, such as a connection or its Secret, does not exist, or is of no use now."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


async def resolve(connection: BacalhauConnection, read_secret: ReadSecret) -> Access:
    """Look up everything that the connection refers to.

    Raises:
        Unresolved: a Secret or a key of it is missing, or cannot be what it is meant for.
        KubeError: the API server could not be asked.
    """
    spec = connection.spec
    lookup = _Lookup(read_secret, connection.metadata.namespace)
    endpoint = Endpoint(
        url=spec.endpoint,
        auth=await _credentials(spec.auth, lookup) if spec.auth else None,
        ca=await _authority(spec.tls, lookup) if spec.tls else None,
        insecure=bool(spec.tls and spec.tls.insecure_skip_verify),
    )
    return Access(spec=spec, endpoint=endpoint)


async def _credentials(auth: Auth, lookup: "_Lookup") -> Bearer | Basic | None:
    if auth.token_secret_ref:
        ref, field = auth.token_secret_ref, "spec.auth.tokenSecretRef"
        return _bearer(await lookup.text(ref.name, ref.key, field=field), field=field)
    if auth.basic_secret_ref:
        name, field = auth.basic_secret_ref.name, "spec.auth.basicSecretRef"
        user = await lookup.text(name, "username", field=field)
        return Basic(user, await lookup.text(name, "password", field=field))
    return None


def _bearer(token: str, *, field: str) -> Bearer:
    """Check that a header can carry the token, and never show it."""
    if not token or not token.isascii() or not token.isprintable():
        raise Unresolved(
            Problem(
                "SecretInvalid",
                f"{field}: the Secret's value is no token; it must be one line of ASCII characters.",
            )
        )
    return Bearer(token)


async def _authority(tls: TLS, lookup: "_Lookup") -> str | None:
    ref = tls.ca_secret_ref
    return await lookup.text(ref.name, ref.key, field="spec.tls.caSecretRef") if ref else None


class _Lookup:
    """Reads Secrets of one namespace, and says which field asked for what is missing."""

    def __init__(self, read_secret: ReadSecret, namespace: str) -> None:
        self._read_secret = read_secret
        self._namespace = namespace

    async def text(self, name: str, key: str, *, field: str) -> str:
        try:
            return (await self._read_secret(namespace=self._namespace, name=name, key=key)).strip()
        except SecretMissing as error:
            raise Unresolved(Problem("SecretNotFound", f"{field}: {error}")) from None

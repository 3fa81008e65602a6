"""How the operator reaches the API server: one configuration, for its own client and for kopf.

Looked for where kubectl and controller-runtime look, in their order: a kubeconfig that was named, ``KUBECONFIG``,
the service account of the Pod, ``~/.kube/config``. kopf would search by itself, with libraries of its choice, and
could end up with credentials of its own; ``Cluster.login`` hands it those of the client instead.

Tokens are read anew once a minute: the kubelet rotates the one of a service account, and a kubeconfig may name a
file or a program that yields another.
"""

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import kopf
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from kubernetes.aio.config.incluster_config import SERVICE_HOST_ENV_NAME
from kubernetes.aio.config.kube_config import KubeConfigLoader

USER_AGENT = "bacalhau-dag-operator"
TOKEN_LIFE = 60.0
"""Seconds after which a token from a kubeconfig is looked up again; the client does the same in a cluster."""

_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_HOME_KUBECONFIG = "~/.kube/config"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The API server and how to be let in.

    ``namespace`` is the one that the operator itself belongs to: its Pod's, or its kubeconfig context's.
    """

    client: ApiClient
    namespace: str

    @classmethod
    async def connect(cls, kubeconfig: Path | None = None, *, context: str | None = None) -> Self:
        """Find the configuration. Opens no connection yet.

        Raises ``ConfigException`` if there is none, or it is unusable.
        """
        configuration = Configuration()
        named = str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG")
        if not named and SERVICE_HOST_ENV_NAME in os.environ:
            namespace = _load_service_account(configuration)
        else:
            namespace = await _load_kubeconfig(configuration, named or _HOME_KUBECONFIG, context)
        client = ApiClient(configuration)
        client.user_agent = USER_AGENT
        return cls(client, namespace)

    async def login(self, **_: Any) -> kopf.ConnectionInfo:
        """The credentials as of now, for kopf: the body of its ``on.login`` handler.

        kopf asks at the start, and again after a 401.
        """
        configuration = self.client.configuration
        authorization = await configuration.get_api_key_with_prefix("BearerToken")
        scheme, _separator, token = (authorization or "").partition(" ")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            scheme=scheme or None,
            token=token or None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            proxy_url=configuration.proxy,
            default_namespace=self.namespace,
            trust_env=True,  # as the client does, or only one of the two would find its way past a proxy
        )

    async def close(self) -> None:
        """Close the client's connections."""
        await self.client.close()


def _load_service_account(configuration: Configuration) -> str:
    """Set up ``configuration`` from inside a Pod; returns the Pod's namespace."""
    load_incluster_config(configuration)
    return _POD_NAMESPACE.read_text().strip()


async def _load_kubeconfig(configuration: Configuration, paths: str, context: str | None) -> str:
    """Set up ``configuration`` from one or more kubeconfig files; returns the context's namespace."""
    if not _any_exists(paths):
        raise ConfigException(
            f"There is no kubeconfig at {paths}, and no service account either. Name one with KUBECONFIG, or run "
            "the operator in a Pod."
        )
    loader = await load_kube_config(paths, context, client_configuration=configuration, persist_config=False)
    configuration.refresh_api_key_hook = _refresh_with(loader)  # type: ignore[assignment]  # declared as None only
    return str(loader.current_context["context"].get("namespace") or "default")


def _any_exists(paths: str) -> bool:
    return any(Path(path).expanduser().exists() for path in paths.split(os.pathsep) if path)


def _refresh_with(loader: KubeConfigLoader) -> Callable[[Configuration], Awaitable[None]]:
    """A hook for the client that has the loader look up the token again once it is old."""
    loaded = time.monotonic()

    async def refresh(configuration: Configuration) -> None:
        nonlocal loaded
        if time.monotonic() - loaded > TOKEN_LIFE:
            loaded = time.monotonic()
            await loader.load_and_set(configuration)

    return refresh

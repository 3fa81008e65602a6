"""Values out of ConfigMaps."""

from collections.abc import Mapping

from kubernetes.aio.client import ApiClient, CoreV1Api

from controller.kube.errors import Gone, KubeError, translated
from controller.kube.objects import REQUEST_TIMEOUT


class ConfigMapMissing(KubeError):
    """A ConfigMap that is referred to does not exist. The message is meant for the user."""


async def read_config_map(client: ApiClient, *, namespace: str, name: str) -> Mapping[str, str]:
    """The texts of a ConfigMap by their keys.

    Raises ``ConfigMapMissing`` if there is none, and another ``KubeError`` if it cannot be read now.
    """
    try:
        with translated():
            config_map = await CoreV1Api(client).read_namespaced_config_map(
                name, namespace, _request_timeout=REQUEST_TIMEOUT
            )
    except Gone:
        raise ConfigMapMissing(
            f'There is no ConfigMap "{name}" in namespace "{namespace}". Create it, or correct the reference.'
        ) from None
    return config_map.data or {}

"""Values out of Secrets, read when they are needed and not kept."""

import base64
import binascii

from kubernetes.aio.client import ApiClient, CoreV1Api

from controller.kube.errors import Gone, KubeError, translated
from controller.kube.objects import REQUEST_TIMEOUT


class SecretMissing(KubeError):
    """A Secret, or a key in it, that is referred to does not exist. The message is meant for the user."""


async def read_secret_key(client: ApiClient, *, namespace: str, name: str, key: str) -> str:
    """The text under a key of a Secret.

    Raises ``SecretMissing`` if there is none, or it is no text, and another ``KubeError`` if it cannot be read now.
    """
    try:
        with translated():
            secret = await CoreV1Api(client).read_namespaced_secret(
                name, namespace, _request_timeout=REQUEST_TIMEOUT
            )
    except Gone:
        raise SecretMissing(
            f'There is no Secret "{name}" in namespace "{namespace}". Create it, or correct the reference.'
        ) from None
    if key not in (secret.data or {}):
        raise SecretMissing(f'The Secret "{name}" in namespace "{namespace}" has no key "{key}". Add it.')
    try:
        return base64.b64decode((secret.data or {})[key]).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise SecretMissing(
            f'The key "{key}" of the Secret "{name}" in namespace "{namespace}" is not text.'
        ) from None

"""What can come back from the API server instead of an answer, by what a caller can do about it.

KubeError
 ├── Unavailable   try again later: no connection, no answer in time, 401, 408, 429, 5xx
 │    └── Forbidden  403
 ├── Conflict      409: what was known is out of date; read again
 ├── Gone          404: the object, or its namespace, is not there any more
 ├── Refused       400, 413, 422…: this write will never be accepted as it is
 └── Sealed        this process must not write any more

A 403 counts as passing: permissions come and go while a cluster is upgraded, and an operator that waits for
them beats one that gives up.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from kubernetes.aio.client import ApiException
from kubernetes.aio.config import ConfigException

_TOO_LARGE = ("request is too large", "message larger than max", "Too long")
"""How etcd, its gRPC client and the API server's validation say that an object weighs too much.

The first two arrive as a plain 500; trying again would never help.
"""


class KubeError(Exception):
    """The API server did not do what it was asked to."""


class Unavailable(KubeError):
    """The API server cannot answer now, or does not let us in now."""

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the API server asked us to wait; 0 if it did not say."""


class Forbidden(Unavailable):
    """The API server does not let us do this, for now: permissions are missing, or the namespace is ending."""


class Conflict(KubeError):
    """The object has changed since it was read, or exists already."""


class Gone(KubeError):
    """There is no such object."""


class Refused(KubeError):
    """The API server will not accept this."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


class Sealed(KubeError):
    """This process has lost the right to write, or is about to end."""


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the client raises into the errors of this module."""
    try:
        yield
    except ApiException as error:
        raise _from_status(error) from error
    except TimeoutError as error:
        raise Unavailable("The API server did not answer in time.") from error
    except (aiohttp.ClientError, OSError, ConfigException) as error:
        raise Unavailable(f"The API server cannot be reached: {error}") from error


def _from_status(error: ApiException) -> KubeError:
    message = _message(error)
    if error.status == 413 or any(phrase in message for phrase in _TOO_LARGE):
        return Refused(message, too_large=True)
    match error.status:
        case 404 | 410:
            return Gone(message)
        case 409:
            return Conflict(message)
        case 403:
            return Forbidden(message)
        case 401 | 408 | 429 | None:
            return Unavailable(message, retry_after=_retry_after(error))
        case status if status >= 500:
            return Unavailable(message, retry_after=_retry_after(error))
    return Refused(message)


def _message(error: ApiException) -> str:
    """The message of the Status object that the API server sends, or failing that its first words."""
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return f"{error.status} {error.reason}: {(error.body or '')[:200]}"


def _retry_after(error: ApiException) -> float:
    try:
        return float((error.headers or {})["Retry-After"])
    except (KeyError, ValueError):
        return 0.0

"""What can go wrong with Bacalhau, told apart by what a caller may do about it.

    BacalhauError
    ├── Transient              worth asking again, with a pause
    │   ├── Unreachable            no answer: of a submission, nobody knows whether it happened
    │   ├── RateLimited            429
    │   └── ServerError            5xx without a clearer meaning
    │       └── Unavailable            502, 503, 504: nobody is home behind the address
    ├── CredentialsRejected    the connection's credentials need a person
    │   ├── Unauthorized           401
    │   └── Forbidden              403
    ├── Conflict               the name is in use, or the same job is there already: look before deciding
    └── Refused                saying it again will not help
        ├── UnexpectedAnswer       not an answer of the API that was asked: wrong address, a proxy
        ├── AnswerTooLarge         more than the operator is willing to read
        ├── JobTooLarge            would wedge a compute node, so it was not sent
        ├── NameTaken              another job has the name; it is left alone
        └── InputUnresolved        a path inside an IPFS input leads nowhere, or nobody can follow it

Messages are whole sentences for the status of a resource: they name the endpoint and say what to do.
"""

__all__ = [
    "AnswerTooLarge",
    "BacalhauError",
    "Conflict",
    "CredentialsRejected",
    "Forbidden",
    "InputUnresolved",
    "JobTooLarge",
    "NameTaken",
    "RateLimited",
    "Refused",
    "ServerError",
    "Transient",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
]


class BacalhauError(Exception):
    """Any failure to get from Bacalhau, or from the IPFS node beside it, what was asked for."""


class Transient(BacalhauError):
    """The same request may work later."""


class Unreachable(Transient):
    """No complete answer arrived. A request that changes something may have been carried out."""


class RateLimited(Transient):
    """The server answered 429."""


class ServerError(Transient):
    """The server failed to serve the request (5xx). A request that changes something may have been carried out."""


class Unavailable(ServerError):
    """Whoever answered says that the server behind it does not (502, 503, 504)."""


class CredentialsRejected(BacalhauError):
    """The credentials of the connection do not allow the request."""


class Unauthorized(CredentialsRejected):
    """The server does not accept the credentials (401)."""


class Forbidden(CredentialsRejected):
    """The credentials lack a permission that the request needs (403)."""


class Conflict(BacalhauError):
    """A job of that name exists: 409, or 500 with "no changes detected" for an identical one."""


class Refused(BacalhauError):
    """The server, or the operator on its behalf, says no for good."""


class UnexpectedAnswer(Refused):
    """What answered does not speak this API."""


class AnswerTooLarge(Refused):
    """The answer did not end before the limit on its size."""


class JobTooLarge(Refused):
    """The job was not sent, because Bacalhau could accept it and then choke on it."""


class NameTaken(Refused):
    """A different job has the name already. It is neither adopted nor overwritten."""


class InputUnresolved(Refused):
    """An IPFS input names a path that cannot be turned into a CID."""

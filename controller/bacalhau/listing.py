"""What lies in a published result.

Bacalhau publishes a directory: stdout, stderr and exitCode, which are its own, and one directory for each ResultPath.
"""

from controller.api.artifact import Artifact
from controller.bacalhau.errors import InputUnresolved
from controller.bacalhau.ipfs import IpfsApi

__all__ = ["list_files"]


async def list_files(artifact: Artifact, ipfs: IpfsApi | None) -> tuple[str, ...]:
    """The entries of every ResultPath, as paths inside the result such as ``outputs/part-0.txt``, in alphabetical order.

    Raises:
        InputUnresolved: the result is not on IPFS, or there is no IPFS node to ask.
        Transient: the node cannot say now.
    """
    if artifact.cid is None:
        raise InputUnresolved(f"The files of {artifact.uri} cannot be listed. Publish the result to ipfs.")
    if ipfs is None:
        raise InputUnresolved(
            "The files of a result cannot be listed without an IPFS node. Set spec.ipfs.apiURL of the BacalhauConnection."
        )
    roots = [entry.name for entry in await ipfs.list(artifact.cid) if entry.is_directory]
    found = [f"{root}/{entry.name}" for root in roots for entry in await ipfs.list(f"{artifact.cid}/{root}")]
    return tuple(sorted(found))

"""The results of a fan-out as one directory.

A job that reads a thousand results would have a thousand mounts, which Bacalhau makes one after another and a container engine hardly
bears. On IPFS a directory is a list of CIDs: the results become its entries, and nothing is copied.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from controller.bacalhau.ipfs import IpfsApi

__all__ = ["bundle", "cid_of", "with_cid"]

Input = Mapping[str, Any]


async def bundle(inputs: Sequence[Input], directory: str, ipfs: IpfsApi) -> Sequence[Input]:
    """The inputs with all those below a directory made one, if all of them are CIDs, and more than one.

    Raises:
        Transient: the IPFS node cannot say now.
    """
    below = [entry for entry in inputs if _target(entry).startswith(f"{directory}/")]
    entries = {_target(entry).removeprefix(f"{directory}/"): cid_of(entry) for entry in below}
    known = {name: cid for name, cid in entries.items() if cid and "/" not in name}
    if len(known) < 2 or len(known) < len(below):
        return inputs
    source = {"Type": "ipfs", "Params": {"CID": await ipfs.bundle(known)}}
    others = [entry for entry in inputs if entry not in below]
    return [*others, {"Source": source, "Target": directory}]


def _target(entry: Input) -> str:
    return str(entry.get("Target") or "")


def cid_of(entry: Input) -> str | None:
    """The reference of an input from IPFS, as it is written; None if it is from elsewhere."""
    source = entry.get("Source") or {}
    if str(source.get("Type")).lower() != "ipfs":
        return None
    params = source.get("Params") or {}
    return next((str(value) for key, value in params.items() if key.lower() == "cid"), None)


def with_cid(entry: Input, cid: str) -> Input:
    """The input from IPFS with another CID."""
    params = {key: cid if key.lower() == "cid" else value for key, value in entry["Source"]["Params"].items()}
    return {**entry, "Source": {**entry["Source"], "Params": params}}

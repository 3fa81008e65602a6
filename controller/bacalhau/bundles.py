"""The results of a fan-out as one directory.

A job that reads a thousand results would have a thousand mounts, which Bacalhau makes one after another and a container engine hardly
bears. On IPFS a directory is a list of CIDs: the results become its entries, and nothing is copied.

The inputs say by themselves where this is possible: they lie side by side under numbers, and nothing else is mounted there.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from controller.bacalhau.ipfs import IpfsApi

__all__ = ["bundle", "cid_of", "with_cid"]

_NUMBERED = re.compile(r"(?P<directory>/.*)/(?P<number>0|[1-9][0-9]*)")

Input = Mapping[str, Any]


async def bundle(inputs: Sequence[Input], ipfs: IpfsApi) -> list[Input]:
    """The inputs with those that lie side by side, as ``/inputs/count/0`` and ``/inputs/count/1``, made one.

    Raises:
        Transient: the IPFS node cannot say now.
    """
    bundles = _bundles(inputs)
    bundled = {target for entries in bundles.values() for target in entries}
    directories = [
        {
            "Source": {"Type": "ipfs", "Params": {"CID": await ipfs.bundle(_by_number(entries))}},
            "Target": directory,
        }
        for directory, entries in bundles.items()
    ]
    return [entry for entry in inputs if _target(entry) not in bundled] + directories


def _bundles(inputs: Sequence[Input]) -> dict[str, dict[str, str]]:
    """Find the directories of which all that is mounted in them are numbered CIDs: for each its CIDs by their targets."""
    bundles: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in inputs:
        match, cid = _NUMBERED.fullmatch(_target(entry)), cid_of(entry)
        if match and cid:
            bundles[match["directory"]][_target(entry)] = cid
    return {
        directory: entries
        for directory, entries in bundles.items()
        if len(entries) > 1 and not any(_is_other(entry, directory, entries) for entry in inputs)
    }


def _is_other(entry: Input, directory: str, entries: Mapping[str, str]) -> bool:
    """Tell whether an input is mounted at the directory, or below it, without being one of its entries."""
    target = _target(entry)
    return target not in entries and f"{target}/".startswith(f"{directory}/")


def _by_number(entries: Mapping[str, str]) -> dict[str, str]:
    return {target.rpartition("/")[2]: cid for target, cid in entries.items()}


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

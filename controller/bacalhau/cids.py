"""Content identifiers (CIDs), and why each consumer of one gets a spelling of its own.

A Bacalhau compute node downloads an IPFS input into a folder that is named by the CID *as it is spelled*. Every
execution that mounts the same spelling shares the folder, and the first to finish removes it under the others. A
fan-out over one CID therefore loses a good part of its jobs. But a CID has many spellings: base32 is read without
regard to case, so the 50 or so letters of a CIDv1 give 2^45 and more strings that all mean the same content.
``spell`` picks one by a salt, which the node takes for something of its own. (On a case-insensitive file system,
macOS by default, the spellings meet again.)

Own code, because what PyPI has for the purpose brings four to six packages for what the standard library nearly
does: base32 and base64 are in ``base64``, and base58 and base36 are one loop.
"""

import base64
import hashlib

__all__ = ["canonical", "spell"]

DAG_PB = 0x70
SHA2_256 = 0x12

BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE58_FLICKR = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"


def spell(cid: str, salt: str) -> str:
    """One of the many spellings of the CID, always the same for the same salt.

    Raises:
        ValueError: not a CID, or in a base that is not read here.
    """
    lower = canonical(cid)
    bits = int.from_bytes(hashlib.sha256(salt.encode()).digest(), "big")
    letters = (letter.upper() if bits >> i & 1 else letter for i, letter in enumerate(lower[1:]))
    return lower[0] + "".join(letters)


def canonical(cid: str) -> str:
    """The CID as CIDv1 in lower-case base32: equal for all spellings of one content identifier.

    Raises:
        ValueError: not a CID, or in a base that is not read here.
    """
    return "b" + base64.b32encode(_binary(cid)).decode("ascii").rstrip("=").lower()


def _binary(cid: str) -> bytes:
    """The bytes of the CIDv1 that the string stands for."""
    try:
        if cid.startswith("Qm") and len(cid) == 46:
            return _version_1(_by_radix(cid, BASE58))
        return _checked(_multibase(cid))
    except ValueError as error:
        raise ValueError(f"{cid!r} is not a content identifier (CID): {error}") from error


def _version_1(multihash: bytes) -> bytes:
    """A CIDv0, which is a bare SHA-256 multihash, as CIDv1."""
    if len(multihash) != 34 or multihash[:2] != bytes((SHA2_256, 32)):
        raise ValueError("a CID of version 0 holds a SHA-256 hash")
    return bytes((1, DAG_PB)) + multihash


def _checked(binary: bytes) -> bytes:
    if len(binary) < 4 or binary[0] != 1:
        raise ValueError("not of version 1")
    return binary


def _multibase(text: str) -> bytes:
    """Decode a string whose first letter names its base, as the multibase table has them."""
    prefix, digits = text[:1], text[1:]
    match prefix:
        case "b" | "B" | "c" | "C":
            return base64.b32decode(_padded(digits.upper(), 8))
        case "v" | "V" | "t" | "T":
            return base64.b32hexdecode(_padded(digits.upper(), 8))
        case "f" | "F":
            return bytes.fromhex(digits)
        case "k" | "K":
            return _by_radix(digits.lower(), BASE36)
        case "z":
            return _by_radix(digits, BASE58)
        case "Z":
            return _by_radix(digits, BASE58_FLICKR)
        case "u" | "U":
            return base64.b64decode(_padded(digits, 4), altchars=b"-_", validate=True)
        case "m" | "M":
            return base64.b64decode(_padded(digits, 4), validate=True)
        case _:
            raise ValueError("write it in base32, as `ipfs cid base32` does")


def _padded(digits: str, group: int) -> str:
    bare = digits.rstrip("=")
    return bare + "=" * (-len(bare) % group)


def _by_radix(digits: str, alphabet: str) -> bytes:
    """Decode a number in positional notation; leading zero digits are leading zero bytes."""
    number = 0
    for digit in digits:
        number = number * len(alphabet) + alphabet.index(digit)
    zeros = len(digits) - len(digits.lstrip(alphabet[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")

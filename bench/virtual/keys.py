"""The RSA keys with which a host shows that it was accepted before.

A host signs a random token of 20 bytes (as if it were a SHA-1 digest, PKCS #1 v1.5); a host that is
not known sends its public key: base64 of Android's structure (words in the modulus, -1/n mod 2^32,
modulus, R^2 mod n, exponent; little-endian), a space, and a name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass
from pathlib import Path

_WORDS = 64
_SIZE = 4 * _WORDS
_LAYOUT = struct.Struct(f"<II{_SIZE}s{_SIZE}sI")
# DER of DigestInfo for SHA-1 (RFC 8017, section 9.2, note 1).
_SHA1 = bytes.fromhex("3021300906052b0e03021a05000414")
TOKEN_SIZE = 20


@dataclass(frozen=True)
class PublicKey:
    modulus: int
    exponent: int

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.modulus.to_bytes(_SIZE, "big")).hexdigest()[:32]


def parse(payload: bytes) -> PublicKey | None:
    """The key in an AUTH message; None when it is none."""
    try:
        blob = base64.b64decode(payload.split(b"\0")[0].split(b" ")[0], validate=True)
        words, _, modulus, _, exponent = _LAYOUT.unpack(blob)
    except (binascii.Error, struct.error):
        return None
    if words != _WORDS:
        return None
    return PublicKey(int.from_bytes(modulus, "little"), exponent)


def signed(key: PublicKey, token: bytes, signature: bytes) -> bool:
    if len(signature) != _SIZE:
        return False
    opened = pow(int.from_bytes(signature, "big"), key.exponent, key.modulus)
    digest = _SHA1 + token
    expected = b"\0\1" + b"\xff" * (_SIZE - 3 - len(digest)) + b"\0" + digest
    return hmac.compare_digest(opened.to_bytes(_SIZE, "big"), expected)


def known(file: Path) -> tuple[PublicKey, ...]:
    """The keys that were accepted before, one per line, as phones keep them."""
    if not file.exists():
        return ()
    parsed = (parse(line) for line in file.read_bytes().splitlines())
    return tuple(key for key in parsed if key is not None)


def remember(file: Path, payload: bytes) -> None:
    with file.open("ab") as keys:
        keys.write(payload.rstrip(b"\0\n") + b"\n")

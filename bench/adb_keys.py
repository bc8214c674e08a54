"""RSA keys as adb keeps them: a phone that has authorised this computer's adb knows them."""

from __future__ import annotations

import base64
import getpass
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils

from imp_deploy.errors import DeviceError
from imp_deploy.files import alone, write_atomic

_BITS = 2048
"""The one size that phones take: their side of the protocol has fixed arrays for it."""


@dataclass(frozen=True)
class Signer:
    """The two methods that adb-shell calls."""

    key: rsa.RSAPrivateKey

    def Sign(self, token: bytes) -> bytes:
        """The signature of a token of 20 bytes, which stands where a SHA-1 would."""
        return self.key.sign(token, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1()))

    def GetPublicKey(self) -> bytes:
        return public_text(self.key)


def signers() -> list[Signer]:
    """The user's own key first: it is the one that the phone is asked to accept when it knows none.
    Then those of ADB_VENDOR_KEYS."""
    own = own_key_path()
    if not own.exists():
        create(own)
    return [Signer(load(path)) for path in (own, *vendor_key_paths())]


def own_key_path() -> Path:
    return Path.home() / ".android" / "adbkey"


def vendor_key_paths() -> tuple[Path, ...]:
    """ADB_VENDOR_KEYS: files, and folders with `*.adb_key` in them, separated as in PATH."""
    paths: list[Path] = []
    for part in filter(None, os.environ.get("ADB_VENDOR_KEYS", "").split(os.pathsep)):
        path = Path(part)
        paths += sorted(path.glob("*.adb_key")) if path.is_dir() else [path]
    return tuple(paths)


def create(path: Path) -> None:
    """A new key and its public half, as `adb keygen` writes them, unless `path` is there: of
    several that do this at once, one makes the pair, and the others find it."""
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with alone(path.with_name(f".{path.name}.lock")):
            if not path.exists():
                _create(path)
    except OSError as error:
        raise DeviceError(
            f"{path}, the key that a phone is to authorise, cannot be written "
            f"({error.strerror}); change the folder's rights."
        ) from None


def _create(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_BITS)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    # Before the private half, which the others wait for.
    write_atomic(path.with_name(f"{path.name}.pub"), public_text(key))
    # The file that write_atomic renames is made beforehand: the key may never be readable by
    # others, not even for a moment.
    beside = path.with_name(f".{path.name}.partial")
    os.close(os.open(beside, os.O_CREAT | os.O_WRONLY, 0o600))
    beside.chmod(0o600)
    write_atomic(path, private)


def load(path: Path) -> rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise DeviceError(
            f"{path} cannot be read as an RSA key of adb ({error}); remove it, it is made anew, or "
            "correct ADB_VENDOR_KEYS."
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != _BITS:
        raise DeviceError(
            f"{path} holds no RSA key of {_BITS} bits; remove it, it is made anew, or correct "
            "ADB_VENDOR_KEYS."
        )
    return key


def public_text(key: rsa.RSAPrivateKey) -> bytes:
    """The public key as Android stores it: the modulus in 64 words, what Montgomery multiplication
    needs of it (-1/n mod 2^32, and 2^4096 mod n), the exponent; in base64, with user and host."""
    numbers = key.public_key().public_numbers()
    size = _BITS // 8
    raw = struct.pack(
        f"<II{size}s{size}sI",
        size // 4,
        -pow(numbers.n, -1, 1 << 32) % (1 << 32),
        numbers.n.to_bytes(size, "little"),
        pow(2, 2 * _BITS, numbers.n).to_bytes(size, "little"),
        numbers.e,
    )
    return base64.b64encode(raw) + f" {_user()}@{socket.gethostname() or 'unknown'}".encode()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without an entry for its user
        return "unknown"

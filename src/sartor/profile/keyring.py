"""Keys: one master key outside the store, one root key for hashes, one data key per person for everything that is hers.

The master key never encrypts content. It wraps the root key and every data key (AES-256-GCM under a key derived from it by HKDF), so it can be
changed without touching a record. The root key is random, made once per store; hashes that must outlive a change of the master (subjects,
API keys) are keyed by what HKDF derives from it. Whoever deletes a data key has deleted what it encrypted; a backup holds the key, wrapped, and is
unreadable without the master key of that time.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sartor.errors import ConfigError, StoreProblem, Unreadable

ENVIRONMENT = "SARTOR_MASTER_KEY"
_NONCE = 12
_ENTRY = 700  # bytes of a cached PersonKey with its dictionary entry, measured


def derive(key: bytes, purpose: str) -> bytes:
    """32 bytes for one purpose; a key is never used for two."""
    return HKDF(SHA256(), 32, None, f"sartor {purpose}".encode()).derive(key)


def seal(key: bytes, data: bytes, about: bytes) -> bytes:
    """Random nonce and AES-256-GCM ciphertext; `about` must be given again to open it."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, data, about)


def unseal(key: bytes, sealed: bytes, about: bytes) -> bytes:
    """The reverse of `seal`; raises `cryptography.exceptions.InvalidTag`."""
    return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], about)


class PersonKey:
    """One person's data key."""

    __slots__ = ("_about", "_record", "key", "subject", "wrapped")

    def __init__(self, tenant: str, subject: bytes, key: bytes, wrapped: bytes) -> None:
        self.subject, self.key, self.wrapped = subject, key, wrapped
        self._about = tenant.encode() + b"\0" + subject + b"\0"
        # HKDF-Expand with one block (RFC 5869, 2.3): the data key is random, so it needs no extraction.
        self._record = hmac.digest(key, b"sartor record id\x01", "sha256")

    def __repr__(self) -> str:
        return f"PersonKey({self.subject.hex()[:8]})"

    def seal(self, table: str, data: bytes) -> bytes:
        """Encrypt something for one table; it opens only for the same tenant, person and table."""
        return seal(self.key, data, self._about + table.encode())

    def open(self, table: str, sealed: bytes) -> bytes:
        """The reverse of `seal`; raises `Unreadable` when the bytes were changed, or moved from another row's person or table."""
        return self.opener(table)(sealed)

    def opener(self, table: str) -> Callable[[bytes], bytes]:
        """`open` for many rows of one table. The cipher (2.5 KB of working memory) lives as long as what this returns."""
        decrypt, about = AESGCM(self.key).decrypt, self._about + table.encode()

        def open_(sealed: bytes) -> bytes:
            try:
                return decrypt(sealed[:_NONCE], sealed[_NONCE:], about)
            except (InvalidTag, ValueError) as cause:
                raise Unreadable(
                    "something stored does not open with its person's key", fix="restore the database from a backup", table=table
                ) from cause

        return open_

    def record_id(self, record: str) -> bytes:
        """16 bytes that stand for a record's id."""
        return hmac.digest(self._record, record.encode(), "sha256")[:16]


class Keyring:
    """The keys of one open store, and a cache of data keys bounded in bytes."""

    def __init__(self, master: bytes, root: bytes, *, sealed_root: bytes = b"", cache: int = 64 * 2**20) -> None:
        self.sealed_root = sealed_root
        self._wrap = derive(master, "data key wrap")
        self._index = derive(root, "subject")
        self._api = derive(root, "api key")
        self._audit = derive(root, "audit tombstone")
        self._room = max(1, cache // _ENTRY)
        self._lock = threading.Lock()
        self._cached: OrderedDict[tuple[str, bytes], tuple[PersonKey, int | None]] = OrderedDict()

    def __repr__(self) -> str:
        return f"Keyring({len(self._cached)} people cached)"

    def subject(self, tenant: str, person: str) -> bytes:
        """16 bytes that stand for a person of a tenant."""
        return hmac.digest(self._index, f"{tenant}\0{person}".encode(), "sha256")[:16]

    def tombstone(self, tenant: str, subject: bytes) -> bytes:
        """16 bytes that stand for a forgotten person in the audit; without the root key they say nothing, not even the subject."""
        return hmac.digest(self._audit, tenant.encode() + b"\0" + subject, "sha256")[:16]

    def api_hash(self, secret: str) -> bytes:
        """What is stored of an API key: its secret has 256 random bits, so a slow hash would add nothing."""
        return hmac.digest(self._api, secret.encode(), "sha256")

    def wrap(self, tenant: str, subject: bytes, key: bytes) -> bytes:
        """A data key as it is stored."""
        return seal(self._wrap, key, tenant.encode() + b"\0" + subject + b"\0key")

    def unwrap(self, tenant: str, subject: bytes, wrapped: bytes) -> bytes:
        """The reverse of `wrap`; raises `StoreProblem` under another master key."""
        try:
            return unseal(self._wrap, wrapped, tenant.encode() + b"\0" + subject + b"\0key")
        except (InvalidTag, ValueError) as cause:
            raise StoreProblem(
                "a data key does not open with this master key", fix="if the master key was changed, start this process again"
            ) from cause

    def new(self, tenant: str, subject: bytes) -> PersonKey:
        """A random data key for somebody new."""
        key = os.urandom(32)
        return PersonKey(tenant, subject, key, self.wrap(tenant, subject, key))

    def person(self, tenant: str, subject: bytes, wrapped: bytes) -> PersonKey:
        """The key of a row that was just read, from the cache when it is the same."""
        with self._lock:
            found, _ = self._cached.get((tenant, subject), (None, None))
        if found is not None and found.wrapped == wrapped:
            return found
        key = PersonKey(tenant, subject, self.unwrap(tenant, subject, wrapped), wrapped)
        self.keep(tenant, key)
        return key

    def in_epoch(self, tenant: str, subject: bytes, epoch: int) -> PersonKey | None:
        """A key that was right in this epoch of the tenant: it still is when the database's epoch is the same."""
        with self._lock:
            found, known = self._cached.get((tenant, subject), (None, None))
            if found is None or known != epoch:
                return None
            self._cached.move_to_end((tenant, subject))
            return found

    def keep(self, tenant: str, key: PersonKey, epoch: int | None = None) -> None:
        """Remember a key that is in the database, and in which epoch it was."""
        with self._lock:
            self._cached[tenant, key.subject] = key, epoch
            while len(self._cached) > self._room:
                self._cached.popitem(last=False)

    def drop(self, tenant: str, subject: bytes | None = None) -> None:
        """Forget one person's key, or all of a tenant's."""
        with self._lock:
            if subject is not None:
                self._cached.pop((tenant, subject), None)
            else:
                for entry in [entry for entry in self._cached if entry[0] == tenant]:
                    del self._cached[entry]

    def renew(self, master: bytes, sealed_root: bytes) -> None:
        """Go on under a new master key: the root and all data keys were just wrapped by it."""
        with self._lock:
            self._wrap, self.sealed_root = derive(master, "data key wrap"), sealed_root
            self._cached.clear()


def new_root(master: bytes) -> bytes:
    """A fresh root key, wrapped by the master: what a new store keeps."""
    return wrap_root(master, os.urandom(32))


def wrap_root(master: bytes, root: bytes) -> bytes:
    """A root key as it is stored."""
    return seal(derive(master, "root key wrap"), root, b"root")


def open_root(master: bytes, wrapped: bytes) -> bytes:
    """The root key of a store; raises `StoreProblem` when this is not its master key."""
    try:
        return unseal(derive(master, "root key wrap"), wrapped, b"root")
    except (InvalidTag, ValueError) as cause:
        raise StoreProblem("this store was made with another master key", fix=f"give the key it was made with, or set {ENVIRONMENT}") from cause


def read_master(given: bytes | str | Path | None, *, beside: Path | None, exists: bool) -> bytes:
    """The 32 bytes of a master key.

    Parameters
    ----------
    given: 32 bytes, their base64 text, or a file that holds either; None looks into the environment, then at `<database>.key`.
    beside: the SQLite file, whose key file is made, readable by its owner only, when there is neither; None for PostgreSQL.
    exists: whether the database is there already: then a missing key file is an error, not a reason to make a new one.
    """
    if given is None and (text := os.environ.get(ENVIRONMENT)):
        given = text
    if given is None:
        if beside is None:
            raise ConfigError("a PostgreSQL store needs a master key", fix=f"give master_key, or set {ENVIRONMENT} to 32 random bytes as base64")
        given = key_file(beside)
        if not given.exists():
            if exists:
                raise StoreProblem("the key file of this database is missing", fix=f"put it back, or set {ENVIRONMENT}", file=given)
            _make_key_file(given)
    if isinstance(given, str):
        decoded = _decode(given)
        if decoded is not None:
            return decoded
        given = Path(given)
    if isinstance(given, Path):
        try:
            data = given.read_bytes()
        except (OSError, ValueError) as cause:
            raise StoreProblem("the master key cannot be read", fix="give 32 bytes, their base64 text, or a file that holds them") from cause
        found = data if len(data) == 32 else _decode(data.decode("ascii", "replace"))
        if found is None:
            raise ConfigError("this file holds no master key", fix="it should hold 32 random bytes, or their base64 text", file=given)
        return found
    if len(given) != 32:
        raise ConfigError(f"a master key has 32 bytes, this has {len(given)}", fix="make one with os.urandom(32)")
    return bytes(given)


def key_file(database: Path) -> Path:
    """Where the master key of an SQLite store lies unless it is given."""
    return database.with_name(database.name + ".key")


def next_key_file(database: Path) -> Path:
    """Where the next master key waits while the store is changed to it."""
    return database.with_name(database.name + ".key.next")


def finish_rotation(database: Path | None, master: bytes, sealed_root: bytes) -> bytes:
    """The master key to go on with: the one that waits, when the store was changed to it and a crash kept its file from being renamed."""
    if database is None or os.environ.get(ENVIRONMENT) or not next_key_file(database).exists():
        return master
    waiting = read_master(next_key_file(database), beside=None, exists=True)
    try:
        open_root(waiting, sealed_root)
    except StoreProblem:
        return master
    os.replace(next_key_file(database), key_file(database))
    return waiting


def _decode(text: str) -> bytes | None:
    try:
        data = base64.b64decode(text.strip().replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == 32 else None


def _make_key_file(path: Path) -> None:
    """Written whole and on disk before anything is encrypted with it; when two processes start at once, one key wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(os.urandom(32)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as cause:
        raise StoreProblem(f"the key file cannot be written: {cause.strerror}", fix="choose another place for the database", file=path) from cause
    finally:
        Path(name).unlink(missing_ok=True)

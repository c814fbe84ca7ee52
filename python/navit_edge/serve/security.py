"""Who may ask: API keys and TLS, the same for HTTP and gRPC.

Without a key file everybody who reaches the port may ask; the server listens to this machine alone by default.
Whether the server is alive and ready is told to everybody, since whoever watches it (Kubernetes, a load balancer) has
no key: ``/v2/health/live`` and ``/v2/health/ready``, ``ServerLive`` and ``ServerReady``. Nothing else is open.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from navit_edge.errors import InvalidInputError
from navit_edge.files import kind_of, open_checked
from navit_edge.serve.errors import Code, ServeError

#: A key has so many characters: what can be tried out is no key, and a header of a request holds 8 KiB.
LEAST_KEY, MOST_KEY = 16, 512
#: Most bytes of a file of keys, of a certificate, of a private key.
MOST_FILE_BYTES = 1 << 20

Header = tuple[str | bytes, str | bytes]


class ApiKeys:
    """The keys of ``--api-key-file``. Holds their digests, not the keys."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(_digest(key.encode("ascii")) for key in keys)

    def allow(self, headers: Iterable[Header]) -> bool:
        """Whether the headers of an HTTP request, or the metadata of a call, hold a key: ``Authorization: Bearer KEY``
        or ``X-API-Key: KEY``. Takes as long for a wrong key as for a right one, whatever they have in common."""
        found = False
        for name, value in headers:
            given = _key_in(_bytes(name).lower(), _bytes(value))
            if given:
                digest = _digest(given)
                for known in self._digests:  # all of them: which one it was shall not be told by the time it takes
                    found |= hmac.compare_digest(digest, known)
        return found

    def __len__(self) -> int:
        return len(self._digests)


@dataclass(frozen=True, kw_only=True)
class Tls:
    """A server's certificate with its chain, its private key, and who signs the clients' certificates, all PEM.

    client_ca: None: clients need no certificate.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def context(self) -> ssl.SSLContext:
        """For HTTP: TLS 1.2 and later."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key, _no_password)
        if self.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.client_ca)
        return context


@dataclass(frozen=True, kw_only=True)
class Security:
    """keys: None: everybody may ask. tls: None: in the clear."""

    keys: ApiKeys | None = None
    tls: Tls | None = None

    @property
    def restricted(self) -> bool:
        """Whether a client needs anything to be let in."""
        return self.keys is not None or (self.tls is not None and self.tls.client_ca is not None)

    def check(self, headers: Iterable[Header]) -> None:
        """headers: of an HTTP request, or the metadata of a call. Raises ServeError."""
        if self.keys is not None and not self.keys.allow(headers):
            raise ServeError(Code.UNAUTHORIZED, UNAUTHORIZED)


#: What a client without a key is told.
UNAUTHORIZED = (
    "the request has no valid API key; expected a header 'Authorization: Bearer KEY' or 'X-API-Key: KEY'; ask who runs "
    "this server for a key"
)


def read_security(
    *,
    api_key_file: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    tls_client_ca: Path | None = None,
) -> Security:
    """What the options of ``navit-edge serve`` say. Raises InvalidInputError."""
    keys = None if api_key_file is None else read_keys(api_key_file)
    if tls_cert is None and tls_key is None:
        if tls_client_ca is not None:
            raise InvalidInputError("--tls-client-ca is given without --tls-cert and --tls-key; expected all three")
        return Security(keys=keys)
    if tls_cert is None or tls_key is None:
        given, missing = ("--tls-key", "--tls-cert") if tls_cert is None else ("--tls-cert", "--tls-key")
        raise InvalidInputError(f"{given} is given without {missing}; expected both, or neither to serve in the clear")
    return Security(keys=keys, tls=checked_tls(Tls(certificate=tls_cert, key=tls_key, client_ca=tls_client_ca)))


def read_keys(path: Path) -> ApiKeys:
    """One key a line; empty lines and those that begin with # are left out. Raises InvalidInputError, which never says
    a key."""
    option = "--api-key-file"
    keys = []
    for number, line in enumerate(_read(option, path, secret=True).split(b"\n"), 1):
        key = line.strip()
        if not key or key.startswith(b"#"):
            continue
        if not LEAST_KEY <= len(key) <= MOST_KEY:
            raise InvalidInputError(
                f"{option}: line {number} of {path} has {len(key)} characters; expected a key of {LEAST_KEY} to "
                f"{MOST_KEY}; make one with: openssl rand -hex 32"
            )
        if not all(0x21 <= byte <= 0x7E for byte in key):
            raise InvalidInputError(
                f"{option}: line {number} of {path} has a space, or a character that is not ASCII; expected a key "
                "that a header can hold; make one with: openssl rand -hex 32"
            )
        keys.append(key.decode("ascii"))
    if not keys:
        raise InvalidInputError(
            f"{option}: {path} has no key; expected one a line; make one with: openssl rand -hex 32"
        )
    return ApiKeys(keys)


def checked_tls(tls: Tls) -> Tls:
    """``tls``, if its files can be used. Raises InvalidInputError, which names the option."""
    _read("--tls-cert", tls.certificate, secret=False)
    _read("--tls-key", tls.key, secret=True)
    if tls.client_ca is not None:
        _read("--tls-client-ca", tls.client_ca, secret=False)
        _try(
            lambda: ssl.create_default_context(cafile=tls.client_ca),
            f"--tls-client-ca: {tls.client_ca} holds no certificates that can be read; expected a PEM file",
        )
    _try(
        tls.context,
        f"--tls-cert and --tls-key: {tls.certificate} and {tls.key} are no pair; expected PEM files of a certificate, "
        "its chain behind it, and of its private key, which no password protects",
    )
    return tls


def _try(call: Callable[[], object], expected: str) -> None:
    try:
        call()
    except (ssl.SSLError, ValueError, OSError) as error:
        raise InvalidInputError(f"{expected} ({error})") from error


def _no_password() -> str:
    raise ValueError("the private key is protected by a password")


def _read(option: str, path: Path, *, secret: bool) -> bytes:
    """The bytes of a file that a server trusts. Raises InvalidInputError."""

    def check(status: os.stat_result) -> None:
        if kind := kind_of(status.st_mode):
            raise InvalidInputError(f"{option}: {path} is {kind}; expected a file")
        if status.st_size > MOST_FILE_BYTES:
            raise InvalidInputError(
                f"{option}: {path} has {status.st_size} bytes; expected at most {MOST_FILE_BYTES}; is it the right one?"
            )
        mode = stat.S_IMODE(status.st_mode)
        wrong = mode & (0o027 if secret else 0o022)  # a group may read: Kubernetes mounts secrets for one (fsGroup)
        if wrong:
            who = "other users" if wrong & 0o007 else "its group"
            what = "read" if wrong & 0o004 else "write"
            raise InvalidInputError(
                f"{option}: {who} may {what} {path} (mode {mode:04o}); expected a file that only its owner may "
                f"{'read' if secret else 'write'}; run: chmod {'600' if secret else '644'} {path}"
            )
        if status.st_uid not in (0, os.geteuid()):
            raise InvalidInputError(
                f"{option}: {path} belongs to user {status.st_uid}; expected to find it owned by the user that runs "
                f"the server ({os.geteuid()}), or by root, since its owner may change it"
            )

    try:
        handle = open_checked(path, check, follow_links=True)
        with open(handle, "rb") as file:
            return file.read(MOST_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"{option}: {path} cannot be read: {error.strerror or error}") from error


def _key_in(name: bytes, value: bytes) -> bytes:
    """The key that a header gives, empty if it is another header."""
    if name == b"x-api-key":
        return value.strip()
    if name == b"authorization":
        scheme, _, key = value.strip().partition(b" ")
        return key.strip() if scheme.lower() == b"bearer" else b""
    return b""


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")

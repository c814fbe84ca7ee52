"""Certificates of an authority that nobody else knows, made for a test."""

from __future__ import annotations

from pathlib import Path

import trustme


class Certificates:
    """server, server.key: of 127.0.0.1 and localhost. client, client.key; stranger, stranger.key, which another
    authority has signed. ca: the authority's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.path("ca")))
        for name, signer, identity in (
            ("server", authority, ("localhost", "127.0.0.1")),
            ("client", authority, ("client@example.org",)),
            ("stranger", trustme.CA(), ("stranger@example.org",)),
        ):
            pair = signer.issue_cert(*identity)
            self.path(name).write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
            self.path(f"{name}.key").write_bytes(pair.private_key_pem.bytes())
            self.path(f"{name}.key").chmod(0o600)

    def path(self, name: str) -> Path:
        return self._folder / name

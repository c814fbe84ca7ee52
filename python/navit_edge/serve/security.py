"""Who may ask the server: one place for every protocol."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Security:
    """The defaults let everybody in who reaches the port, and the port is on this machine's loopback."""

    @property
    def restricted(self) -> bool:
        """Whether a client needs anything to be let in."""
        return False

    def check(self, authorization: str | None) -> None:
        """authorization: the header, or gRPC's metadata, of that name. Raises ServeError (``Code.UNAUTHORIZED``)."""

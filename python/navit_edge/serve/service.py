"""What every protocol of one server shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from navit_edge.serve.accounting import Record
from navit_edge.serve.limits import Limits, Room
from navit_edge.serve.repository import Repository
from navit_edge.serve.security import Security


@dataclass(kw_only=True)
class Service:
    """room: bytes of the requests that are held. draining: the server ends, and takes no new connections.
    finished: each gets the record of a request that has ended."""

    repository: Repository
    security: Security = field(default_factory=Security)
    draining: bool = False
    finished: list[Callable[[Record], object]] = field(default_factory=list)
    room: Room = field(init=False)

    def __post_init__(self) -> None:
        self.room = Room(self.limits.max_bodies_bytes)

    @property
    def limits(self) -> Limits:
        return self.repository.limits

    @property
    def ready(self) -> bool:
        return self.repository.ready and not self.draining

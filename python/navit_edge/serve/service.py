"""What every protocol of one server shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from navit_edge.serve.access_log import AccessLog
from navit_edge.serve.accounting import Record, RequestMetrics
from navit_edge.serve.limits import Limits, Room
from navit_edge.serve.repository import Repository
from navit_edge.serve.security import Security


@dataclass(kw_only=True)
class Service:
    """access_log: None: nothing is logged. draining: the server ends, and takes no new connections. room: bytes of the
    requests that are held. requests: what is counted of them."""

    repository: Repository
    security: Security = field(default_factory=Security)
    access_log: AccessLog | None = None
    draining: bool = False
    room: Room = field(init=False)
    requests: RequestMetrics = field(init=False, default_factory=RequestMetrics)

    def __post_init__(self) -> None:
        self.room = Room(self.limits.max_bodies_bytes)
        if self.access_log is not None:
            self.access_log.lost = self.requests.lost_line

    @property
    def finished(self) -> list[Callable[[Record], object]]:
        """What is told of each request that has ended."""
        return [self.requests.add, *([self.access_log.write] if self.access_log is not None else [])]

    @property
    def limits(self) -> Limits:
        return self.repository.limits

    @property
    def ready(self) -> bool:
        return self.repository.ready and not self.draining

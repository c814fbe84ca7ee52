"""The most tokens of a pack while a model trains: halved when memory runs out, grown again while there is room."""

from __future__ import annotations

from dataclasses import dataclass

from navit_edge.errors import InvalidInputError


@dataclass(kw_only=True)
class TokenBudget:
    """Most tokens of a pack, between ``least`` and ``most``.

    After ``patience`` steps below ``memory_target`` (the share of the device's memory that a step used at its peak) it
    grows by a quarter, but no more than halfway to where memory last ran out.
    """

    tokens: int
    least: int = 64
    most: int = 0  # 0: as many as at the start
    memory_target: float = 0.8
    patience: int = 50
    ran_out_at: int = 0  # the fewest tokens that did not fit; 0: all have
    calm_steps: int = 0

    def __post_init__(self) -> None:
        self.most = self.most or self.tokens
        if not 1 <= self.least <= self.tokens <= self.most:
            raise InvalidInputError(
                f"token budget {self.tokens}, least {self.least}, most {self.most}; "
                "expected 1 <= least <= tokens <= most"
            )

    def ran_out(self, tokens: int) -> None:
        """A pack of ``tokens`` did not fit. Raises InvalidInputError if the budget is the least already."""
        if self.tokens <= self.least:
            raise InvalidInputError(
                f"memory ran out with {tokens} tokens in a pack, and {self.least} are the least that are allowed; "
                "choose a smaller model, a lower resolution, or a smaller least budget"
            )
        self.ran_out_at = min(self.ran_out_at, tokens) if self.ran_out_at else tokens
        self.tokens = max(self.least, min(self.tokens, tokens) // 2)
        self.calm_steps = 0

    def stepped(self, memory_share: float | None) -> None:
        """A step went well, at this peak of memory (None: not known, so that nothing grows)."""
        if memory_share is None or memory_share >= self.memory_target:
            self.calm_steps = 0
            return
        self.calm_steps += 1
        if self.calm_steps < self.patience or self.tokens >= self.most:
            return
        self.calm_steps = 0
        grown = min(self.most, self.tokens + max(1, self.tokens // 4))
        if self.ran_out_at:
            grown = min(grown, (self.tokens + self.ran_out_at) // 2)
        self.tokens = max(self.tokens, grown)

    def state(self) -> dict[str, int]:
        """What a checkpoint keeps."""
        return {"tokens": self.tokens, "ran_out_at": self.ran_out_at, "calm_steps": self.calm_steps}

    def restore(self, state: dict[str, int]) -> None:
        """The inverse of ``state``."""
        self.tokens, self.ran_out_at, self.calm_steps = state["tokens"], state["ran_out_at"], state["calm_steps"]

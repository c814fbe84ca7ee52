"""Watches the loss and the gradients of each step, before it is taken, and says what to do."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any

from navit_edge.errors import InvalidInputError, NavitEdgeError

ACTIONS = ("ignore", "skip", "cut", "stop")


class TrainingStoppedError(NavitEdgeError):
    """A training that its monitor ended. What was done until then is in the checkpoint."""


@dataclass(frozen=True, kw_only=True)
class MonitorOptions:
    """What counts as unstable, and what happens then.

    spike: a loss this many times the usual deviation above the median of the last ``window`` steps; 0: none counts.
    gradient_norm: a norm above this many times that median; 0: none counts.
    attention_steps: steps between two looks at attention (attention.py); 0: none.
    max_logit: an attention logit above this counts as unstable; 0: none does.
    action: skip: the step is not taken. cut: nor that, and the learning rate is multiplied with ``cut`` from then on.
        stop: the training ends. ignore: it is counted.
    patience: steps in a row that may be skipped or cut; one more ends the training.

    A loss or a gradient that is no finite number is never learned from: "ignore" skips it too.
    """

    spike: float = 8.0
    gradient_norm: float = 20.0
    window: int = 100
    attention_steps: int = 0
    max_logit: float = 0.0
    action: str = "skip"
    cut: float = 0.5
    patience: int = 10

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise InvalidInputError(f'action "{self.action}" is unknown; expected one of {", ".join(ACTIONS)}')
        if self.spike < 0 or self.gradient_norm < 0 or self.window < 8 or self.patience < 0 or not 0 < self.cut < 1:
            raise InvalidInputError(
                "monitor: expected spike, gradient_norm and patience of 0 or more, window of 8 or more, 0 < cut < 1"
            )


@dataclass(kw_only=True)
class Monitor:
    """rate_scale multiplies the learning rate. events: how often each thing was seen."""

    options: MonitorOptions = field(default_factory=MonitorOptions)
    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    rate_scale: float = 1.0
    in_a_row: int = 0
    events: dict[str, int] = field(default_factory=dict)

    def judge(self, loss: float, norm: float, max_logit: float = 0.0) -> str:
        """What is wrong with a step: "not finite", "loss spike", "gradient spike", "attention logit", or ""."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return "not finite"
        if self.options.spike and self._is_spike(loss):
            return "loss spike"
        if 0 < self.options.max_logit < max_logit:
            return "attention logit"
        if not self.options.gradient_norm or len(self.norms) < self._enough():
            return ""
        usual = max(statistics.median(self.norms), 1e-12)
        return "gradient spike" if norm > self.options.gradient_norm * usual else ""

    def is_taken(self, loss: float, norm: float, max_logit: float = 0.0) -> tuple[bool, str]:
        """(whether to take the step, what is wrong with it). Raises TrainingStoppedError."""
        wrong = self.judge(loss, norm, max_logit)
        if not wrong:
            self._remember(loss, norm)
            self.in_a_row = 0
            return True, ""
        self.events[wrong] = self.events.get(wrong, 0) + 1
        self.in_a_row += 1
        if self.options.action == "stop" or self.in_a_row > self.options.patience:
            raise TrainingStoppedError(
                f"{wrong}: loss {loss:.6g}, gradient norm {norm:.6g}, {self.in_a_row} in a row; "
                "lower the learning rate, or clip gradients more"
            )
        if self.options.action == "ignore" and wrong != "not finite":
            self._remember(loss, norm)
            return True, wrong
        if self.options.action == "cut":
            self.rate_scale *= self.options.cut
        return False, wrong

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {name: value for name, value in vars(self).items() if name != "options"}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of ``state``."""
        vars(self).update(state)

    def _enough(self) -> int:
        return min(20, self.options.window)

    def _is_spike(self, loss: float) -> bool:
        if len(self.losses) < self._enough():
            return False
        middle = statistics.median(self.losses)
        deviation = 1.4826 * statistics.median(abs(value - middle) for value in self.losses)
        return loss > middle + self.options.spike * max(deviation, 0.01 * abs(middle))

    def _remember(self, loss: float, norm: float) -> None:
        self.losses = [*self.losses, loss][-self.options.window :]
        self.norms = [*self.norms, norm][-self.options.window :]

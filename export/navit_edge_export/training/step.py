"""One optimizer step over the packs that it accumulates."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from navit_edge.errors import InvalidInputError
from navit_edge_export.training.attention import AttentionHealth, attention_health
from navit_edge_export.training.ema import Ema
from navit_edge_export.training.loader import TrainingPack
from navit_edge_export.training.losses import correct
from navit_edge_export.training.monitor import Monitor
from navit_edge_export.training.objective import Objective, gradient_norm
from navit_edge_export.training.precision import Precision
from navit_edge_export.training.randomness import generator
from navit_edge_export.training.schedules import LearningRate
from navit_edge_export.training.token_budget import TokenBudget


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a step was. Sums and means are over all ranks. wrong: what the monitor found; taken: whether it counts.

    attention: its health (attention.py), in the steps in which it was looked at.
    losses: (number in the dataset, loss) of this rank's images.
    """

    step: int
    loss: float
    accuracy: float
    gradient_norm: float
    rate: float
    images: int
    tokens: int
    packs: int
    taken: bool = True
    wrong: str = ""
    attention: dict[str, float] | None = None
    unreadable: tuple[str, ...] = ()
    losses: tuple[tuple[int, float], ...] = field(default=(), repr=False)


@dataclass(kw_only=True)
class Stepper:
    """Forward and backward of each pack, then one step by the mean over all images, however they were packed.

    module: the objective, or DistributedDataParallel around it. lowering: of attention (docs/model.md).
    clip: largest norm of the gradients; 0: they are not clipped.

    A pack for which memory runs out is halved until it fits (images of one pack at most once a step in each size), and
    the budget of the packs to come with it. In a DistributedDataParallel run memory that runs out ends the run.
    """

    objective: Objective
    module: nn.Module
    optimizer: torch.optim.Optimizer
    rate: LearningRate
    precision: Precision
    budget: TokenBudget
    monitor: Monitor
    ema: Ema | None = None
    clip: float = 1.0
    lowering: str = "padded"
    seed: int = 0

    @property
    def ranks(self) -> int:
        """Processes that train together."""
        return torch.distributed.get_world_size() if isinstance(self.module, DistributedDataParallel) else 1

    def step(self, number: int, packs: Sequence[TrainingPack]) -> StepReport:
        """The step of this number, counted from 0. Raises TrainingStoppedError, or what the model raises."""
        self.module.train()
        queue = list(packs)
        while True:
            try:
                self.optimizer.zero_grad(set_to_none=True)
                sums, losses = self._accumulate(queue)
                break
            except torch.OutOfMemoryError:
                if self.ranks > 1:
                    raise
                queue = self._smaller(queue)
        loss, right, images, tokens, count = self._all_ranks([*sums, len(queue)])
        scaler = self.precision.scaler
        scaler.unscale_(self.optimizer)
        for parameter in self.module.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(self.ranks / max(images, 1))
        norm = gradient_norm(self.objective)
        mean = loss / max(images, 1)
        rate = self.rate.at(number) * self.monitor.rate_scale
        health = self._look_at_attention(number, packs)
        taken, wrong = self._judge(mean, norm, images, health)
        if taken:
            if self.clip and np.isfinite(norm):
                nn.utils.clip_grad_norm_(self.module.parameters(), self.clip)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["lr_scale"]
            scaler.step(self.optimizer)
        scaler.update()
        if taken and self.ema is not None:
            self.ema.update(self.objective.model)
        self.budget.stepped(self._memory_share())
        return StepReport(
            step=number,
            loss=mean,
            accuracy=right / max(images, 1),
            gradient_norm=norm,
            rate=rate,
            images=int(images),
            tokens=int(tokens),
            packs=int(count),
            taken=taken,
            wrong=wrong,
            attention=None if health is None else health._asdict(),
            unreadable=tuple(reason for pack in packs for reason in pack.unreadable),
            losses=tuple(losses),
        )

    def _look_at_attention(self, number: int, packs: Sequence[TrainingPack]) -> AttentionHealth | None:
        """Every ``attention_steps`` of the monitor, in the first pack; the largest logit is that of all ranks."""
        every = self.monitor.options.attention_steps
        if not every or number % every or not packs:
            return None
        device = self.precision.device
        with self.precision.forward():
            health = attention_health(self.objective.model, packs[0], lowering=self.lowering, device=device)
        if self.ranks == 1:
            return health
        largest = torch.tensor(health.max_logit, dtype=torch.float64, device=device)
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        return health._replace(max_logit=float(largest))

    def _judge(self, loss: float, norm: float, images: float, health: AttentionHealth | None) -> tuple[bool, str]:
        if not images:
            return False, "no image"
        if self.precision.scaler.is_enabled() and np.isfinite(loss) and not np.isfinite(norm):
            return False, "overflow"  # the scale was too large, and is lowered; nothing is unstable
        return self.monitor.is_taken(loss, norm, health.max_logit if health else 0.0)

    def _accumulate(self, packs: Sequence[TrainingPack]) -> tuple[list[float], list[tuple[int, float]]]:
        """Gradients of the sum over images; ([loss, right, images, tokens], the loss of each image)."""
        sums = [0.0, 0.0, 0.0, 0.0]
        losses: list[tuple[int, float]] = []
        device = self.precision.device
        if not packs and self.ranks > 1:
            raise InvalidInputError("no image of a step could be decoded on one of the ranks; leave such files out")
        for place, pack in enumerate(packs):
            with self._no_sync(place + 1 < len(packs)):
                examples = [image.example for image in pack.images]
                path_seed = int(generator(self.seed, "path", *pack.number).integers(2**62))
                targets = torch.from_numpy(pack.targets).to(device)
                with self.precision.forward():
                    each, logits = self.module(pack.inputs(self.lowering, device), targets, examples, path_seed)
                self.precision.scaler.scale(each.sum()).backward()
            own = each.detach().float().cpu().tolist()
            losses += zip(examples, own, strict=True)
            found = (sum(own), correct(logits, targets), len(own), len(pack.pack.patches))
            sums = [a + b for a, b in zip(sums, found, strict=True)]
        return sums, losses

    def _no_sync(self, waits: bool) -> contextlib.AbstractContextManager[Any]:
        if waits and isinstance(self.module, DistributedDataParallel):
            return self.module.no_sync()
        return contextlib.nullcontext()

    def _all_ranks(self, values: list[float]) -> list[float]:
        if self.ranks == 1:
            return values
        tensor = torch.tensor(values, dtype=torch.float64, device=self.precision.device)
        torch.distributed.all_reduce(tensor)
        summed: list[float] = tensor.tolist()
        return summed

    def _memory_share(self) -> float | None:
        """At the peak of the step, on the rank that used most, so that all ranks plan with one budget."""
        share = peak_memory_share(self.precision.device)
        if share is None or self.ranks == 1:
            return share
        most = torch.tensor(share, dtype=torch.float64, device=self.precision.device)
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        return float(most)

    def _smaller(self, packs: Sequence[TrainingPack]) -> list[TrainingPack]:
        largest = max(len(pack.pack.patches) for pack in packs)
        if all(len(pack.images) == 1 for pack in packs if len(pack.pack.patches) == largest):
            raise InvalidInputError(f"memory ran out for one image of {largest} tokens; lower the resolution")
        if self.precision.device.type == "cuda":
            torch.cuda.empty_cache()
        if largest <= self.budget.tokens:
            self.budget.ran_out(largest)
        smaller: list[TrainingPack] = []
        for pack in packs:
            fits = len(pack.pack.patches) < largest or len(pack.images) == 1
            smaller += [pack] if fits else pack.halves()
        return smaller


def peak_memory_share(device: torch.device) -> float | None:
    """Of the device's memory, what was used at most since the last call; None on a CPU."""
    if device.type != "cuda":
        return None
    share = torch.cuda.max_memory_allocated(device) / torch.cuda.get_device_properties(device).total_memory
    torch.cuda.reset_peak_memory_stats(device)
    return share

"""A training run in a folder: made from its recipe, or taken up where its newest checkpoint stands."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from navit_edge import files
from navit_edge.errors import InvalidInputError
from navit_edge.text import shown
from navit_edge_export.model.config import NaViTConfig
from navit_edge_export.model.navit import NaViT
from navit_edge_export.training import checkpoint
from navit_edge_export.training.attention import drop_by_attention
from navit_edge_export.training.curves import Curve
from navit_edge_export.training.dataset import Dataset
from navit_edge_export.training.distillation import Distillation, load_embeddings
from navit_edge_export.training.distributed import Rank, device_of, gathered, wrapped
from navit_edge_export.training.ema import Ema
from navit_edge_export.training.loader import Loader, PackMaker, TrainingPack
from navit_edge_export.training.monitor import Monitor
from navit_edge_export.training.objective import Objective
from navit_edge_export.training.packing import Efficiency, Step, TransformerCost, WindowPlanner, gather_steps
from navit_edge_export.training.param_groups import param_groups
from navit_edge_export.training.precision import Precision
from navit_edge_export.training.recipe import Recipe
from navit_edge_export.training.step import Stepper, StepReport
from navit_edge_export.training.token_budget import TokenBudget

#: Of what may change between a run and the one that takes it up: it does not change the numbers.
FREE_FIELDS = ("data", "test", "workers", "checkpoint_steps", "checkpoints_kept")


@dataclasses.dataclass(kw_only=True)
class Place:
    """Where a run stands. A window is planned from what held when it began, so that is kept with it."""

    window: int = 0
    done: int = 0  # steps of the window
    step: int = 0  # steps in all
    began_at: int = 0  # steps before the window
    token_budget: int = 0  # of the window


class Run:
    """Model, data, optimizer and place of one training. ``stepper.step`` trains; ``record`` and ``save`` keep."""

    def __init__(self, recipe: Recipe, data: Dataset, folder: Path, *, rank: Rank | None = None) -> None:
        """Takes up the newest checkpoint of ``folder``, if there is one. Raises InvalidInputError if the folder holds a
        run of another recipe."""
        self.recipe, self.data, self.folder, self.rank = recipe, data, folder, rank or Rank()
        folder.mkdir(parents=True, exist_ok=True)
        self._check_recipe()
        if recipe.threads:
            torch.set_num_threads(recipe.threads)
        if recipe.deterministic:
            torch.use_deterministic_algorithms(True)
        device = device_of(recipe.device, self.rank)
        self.model = make_model(recipe, len(data.class_names))
        self.objective = make_objective(recipe, self.model, len(data.labels)).to(device)
        config = self.model.config
        options = recipe.optimizer
        groups = param_groups(
            self.objective,
            depth=config.depth,
            weight_decay=options.weight_decay,
            layer_decay=options.layer_decay,
            prefix="model.",
        )
        self.stepper = Stepper(
            objective=self.objective,
            module=wrapped(self.objective, self.rank),
            optimizer=torch.optim.AdamW(groups, betas=(options.beta1, options.beta2), eps=options.eps),
            rate=recipe.rate,
            precision=Precision(recipe.precision, device),
            budget=TokenBudget(tokens=recipe.token_budget, least=min(recipe.least_budget, recipe.token_budget)),
            monitor=Monitor(options=recipe.monitor),
            ema=Ema(self.model, decay=options.ema) if options.ema else None,
            clip=options.clip,
            lowering=recipe.lowering,
            seed=recipe.seed,
        )
        self.planner = WindowPlanner(
            sizes=data.sizes,
            patch_px=config.patch_px,
            prefix_tokens=config.prefix_tokens,
            resolution=recipe.resolution,
            drop=recipe.drop,
            packing=recipe.packing,
            seed=recipe.seed,
        )
        maker = PackMaker(
            dataset=data,
            patch_px=config.patch_px,
            prefix_tokens=config.prefix_tokens,
            augment=recipe.augment,
            mix=recipe.mix,
            choice=recipe.drop.choice,
            seed=recipe.seed,
        )
        self.loader = Loader(maker, workers=recipe.workers)
        self.cost = TransformerCost(
            width=config.width, mlp_width=config.mlp_width, depth=config.depth, padded=recipe.lowering == "padded"
        )
        self.place = Place(token_budget=recipe.token_budget)
        self.losses = np.full(len(data.labels), np.nan)
        self.losses_before = self.losses.copy()  # when the window began
        self.unreadable: set[str] = set()
        self.efficiency: Efficiency | None = None  # of the window
        self._take_up()
        self.curve = Curve(folder / "curve.jsonl", steps=self.place.step) if self.rank.rank == 0 else None

    @property
    def is_done(self) -> bool:
        """Whether all steps of the recipe have been taken."""
        return self.place.step >= self.recipe.rate.steps

    def window(self) -> Iterator[tuple[Step, list[TrainingPack]]]:
        """The steps that are left of this window; then the run stands at the next one."""
        place = self.place
        packs = self.planner.packs(
            place.window,
            token_budget=place.token_budget,
            progress=place.began_at / self.recipe.rate.steps,
            losses=self.losses_before,
        )
        self.efficiency = Efficiency.of(packs, place.token_budget)
        steps = gather_steps(
            packs,
            tokens_per_step=self.recipe.packing.tokens_per_step,
            cost=self.cost,
            rank=self.rank.rank,
            ranks=self.rank.ranks,
        )
        left = steps[place.done : place.done + self.recipe.rate.steps - place.step]
        for step, made in self.loader.packs(left):
            yield step, [self._thinned(pack) for pack in made]
        if place.done >= len(steps):
            self.losses_before = self.losses.copy()
            budget = self.stepper.budget.tokens
            self.place = Place(window=place.window + 1, step=place.step, began_at=place.step, token_budget=budget)

    def record(self, report: StepReport) -> None:
        """A step was done."""
        self.place.step += 1
        self.place.done += 1
        for losses, unreadable in gathered((report.losses, report.unreadable), self.rank):
            for example, loss in losses:
                self.losses[example] = loss
            self.unreadable.update(unreadable)
        if self.curve is not None:
            self.curve.add(report)

    @property
    def is_due(self) -> bool:
        """Whether a checkpoint should be written now."""
        return self.place.step % self.recipe.checkpoint_steps == 0 or self.is_done

    def save(self) -> None:
        """A checkpoint, by rank 0."""
        if self.rank.rank != 0 or self.curve is None:
            return
        self.curve.sync()
        stepper = self.stepper
        values = {
            "place": dataclasses.asdict(self.place),
            "budget": stepper.budget.state(),
            "monitor": stepper.monitor.state(),
            "scaler": stepper.precision.scaler.state_dict(),
            "ema_steps": stepper.ema.steps if stepper.ema else 0,
            "unreadable": sorted(self.unreadable),
        }
        tables = {"losses": torch.from_numpy(self.losses), "losses_before": torch.from_numpy(self.losses_before)}
        average = stepper.ema.model if stepper.ema else None
        path = checkpoint.path_of(self.folder, self.place.step)
        state = checkpoint.TrainingState(values=values, tensors=tables)
        checkpoint.save(path, self.objective, stepper.optimizer, average, state)
        checkpoint.keep_newest(self.folder, self.recipe.checkpoints_kept)

    def close(self) -> None:
        """No more steps."""
        self.loader.close()
        if self.curve is not None:
            self.curve.close()

    def trained(self) -> NaViT:
        """What was trained: the average if one is kept, otherwise the model itself."""
        model = self.stepper.ema.model if self.stepper.ema else self.model
        assert isinstance(model, NaViT)
        return model.eval()

    def _thinned(self, pack: TrainingPack) -> TrainingPack:
        """Without the patches that the model, as it is now, attends to least, if they are dropped by attention."""
        if self.recipe.drop.choice != "attention":
            return pack
        device, lowering = self.stepper.precision.device, self.recipe.lowering
        return drop_by_attention(self.model, pack, lowering=lowering, device=device, seed=self.recipe.seed)

    def _take_up(self) -> None:
        path = checkpoint.newest(self.folder)
        if path is None:
            return
        stepper = self.stepper
        average = stepper.ema.model if stepper.ema else None
        state = checkpoint.load(path, self.objective, stepper.optimizer, average)
        self.place = Place(**state.values["place"])
        stepper.budget.restore(state.values["budget"])
        stepper.monitor.restore(state.values["monitor"])
        if stepper.precision.scaler.is_enabled():
            stepper.precision.scaler.load_state_dict(state.values["scaler"])
        if stepper.ema is not None:
            stepper.ema.steps = state.values["ema_steps"]
        self.unreadable = set(state.values["unreadable"])
        self.losses = state.tensors["losses"].numpy().copy()
        self.losses_before = state.tensors["losses_before"].numpy().copy()

    def _check_recipe(self) -> None:
        """The folder's recipe is this one, but for what does not change the numbers; it is written if there is none."""
        path = self.folder / "recipe.json"
        own = self.recipe.to_dict()
        if not path.exists():
            if self.rank.rank == 0:
                content = json.dumps(own, indent=1).encode()
                files.write_whole(path, content, beside=".recipe.json.partial")
            return
        there: dict[str, Any] = files.read_json(path)
        changed = [name for name in own if name not in FREE_FIELDS and own[name] != there.get(name)]
        if changed:
            raise InvalidInputError(
                f"{shown(self.folder)} holds a run of another recipe: {changed[0]} was {there.get(changed[0])}, and is "
                f"{own[changed[0]]}; train in another folder, or with the recipe in {shown(path)}"
            )


def make_model(recipe: Recipe, classes: int) -> NaViT:
    """The recipe's model, with its first weights."""
    return NaViT(NaViTConfig.from_fields({**recipe.model, "num_classes": classes}), seed=recipe.seed)


def make_objective(recipe: Recipe, model: NaViT, images: int) -> Objective:
    """The recipe's losses around a model."""
    loss = recipe.loss
    distillation = None
    if loss.table:
        distillation = Distillation(model.config.width, load_embeddings(Path(loss.table), images), seed=recipe.seed)
    return Objective(
        model,
        loss=loss.kind,
        smoothing=loss.smoothing,
        drop_path=recipe.drop_path,
        distillation=distillation,
        distillation_weight=loss.distillation_weight,
        classification_weight=loss.weight,
    )

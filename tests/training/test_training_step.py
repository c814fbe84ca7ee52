"""Gradients of packed images against one image at a time; losses, groups and averages against torch's and timm's."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision_operators  # noqa: F401  before timm
from stripes import stripes
from torch import Tensor, nn
from torch.nn import functional

from navit_edge.errors import InvalidInputError
from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.training.contrastive import ContrastiveLoss, backward_through_packs
from navit_edge_export.training.distillation import Distillation, load_embeddings, save_embeddings, teacher_embeddings
from navit_edge_export.training.drop_path import DropPath
from navit_edge_export.training.ema import Ema
from navit_edge_export.training.loader import Loader, PackMaker, TrainingPack
from navit_edge_export.training.losses import classification_loss
from navit_edge_export.training.monitor import Monitor, MonitorOptions, TrainingStoppedError
from navit_edge_export.training.objective import Objective
from navit_edge_export.training.packing import PackingOptions, TransformerCost, WindowPlanner, gather_steps
from navit_edge_export.training.param_groups import param_groups
from navit_edge_export.training.precision import Precision
from navit_edge_export.training.resolution import Resolution, ResolutionPools
from navit_edge_export.training.schedules import LearningRate
from navit_edge_export.training.step import Stepper
from navit_edge_export.training.token_budget import TokenBudget

CONFIG = NaViTConfig(width=32, depth=2, heads=2, mlp_width=64, patch_px=8, num_classes=2)
DATA = stripes(10)


def packs_of(token_budget: int) -> list[TrainingPack]:
    """The images of DATA, in packs of at most so many tokens."""
    planner = WindowPlanner(
        sizes=DATA.sizes,
        patch_px=8,
        resolution=ResolutionPools(pools=(Resolution(kind="native", max_px=48),)),
        packing=PackingOptions(tokens_per_step=10_000),
    )
    cost = TransformerCost(width=32, mlp_width=64, depth=2)
    steps = gather_steps(planner.packs(0, token_budget=token_budget), tokens_per_step=10_000, cost=cost)
    return next(Loader(PackMaker(dataset=DATA, patch_px=8)).packs(steps))[1]


def stepper(objective: Objective, **options: object) -> Stepper:
    groups = param_groups(objective, depth=2, weight_decay=0.05, prefix="model.")
    fields: dict[str, object] = {
        "objective": objective,
        "module": objective,
        "optimizer": torch.optim.AdamW(groups),
        "rate": LearningRate(peak=1e-2, steps=10, warmup_steps=0, decay="constant"),
        "precision": Precision("fp32", torch.device("cpu")),
        "budget": TokenBudget(tokens=1000),
        "monitor": Monitor(),
        "clip": 0.0,
        **options,
    }
    return Stepper(**fields)  # type: ignore[arg-type]


def one_by_one_gradients(objective: Objective, packs: list[TrainingPack]) -> dict[str, Tensor]:
    """The mean of the gradients of each image alone, in a pack of its own."""
    singles: list[TrainingPack] = []
    queue = list(packs)
    while queue:
        pack = queue.pop()
        if len(pack.images) == 1:
            singles.append(pack)
        else:
            queue += pack.halves()
    sums = {name: torch.zeros_like(p) for name, p in objective.named_parameters()}
    for single in singles:
        objective.zero_grad()
        targets = torch.from_numpy(single.targets)
        examples = [image.example for image in single.images]
        objective(single.inputs("masked", torch.device("cpu")), targets, examples).each.sum().backward()
        for name, parameter in objective.named_parameters():
            if parameter.grad is not None:
                sums[name] += parameter.grad
    assert len(singles) == len(DATA.labels)
    return {name: value / len(singles) for name, value in sums.items()}


def assert_gradients(objective: Objective, expected: dict[str, Tensor]) -> None:
    for name, parameter in objective.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, expected[name], atol=2e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("token_budget", [40, 90, 1000])
@pytest.mark.parametrize("lowering", ["padded", "masked", "packed"])
def test_gradients_are_the_mean_over_images_however_they_are_packed(token_budget: int, lowering: str) -> None:
    objective = Objective(NaViT(CONFIG, seed=1))
    packs = packs_of(token_budget)
    expected = one_by_one_gradients(objective, packs)
    report = stepper(objective, lowering=lowering).step(0, packs)
    assert report.images == 10
    assert report.packs == len(packs)
    assert_gradients(objective, expected)
    norm = math.sqrt(sum(float(g.norm()) ** 2 for g in expected.values()))
    assert report.gradient_norm == pytest.approx(norm, rel=1e-3)


def test_a_pack_that_does_not_fit_is_halved_and_gives_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = Objective(NaViT(CONFIG, seed=1))
    packs = packs_of(1000)
    expected = one_by_one_gradients(objective, packs)
    forward = Objective.forward
    largest: list[int] = []

    def limited(self: Objective, inputs: dict[str, Tensor], *rest: object) -> object:
        largest.append(len(inputs["patches"]))
        if largest[-1] > 60:
            raise torch.OutOfMemoryError("a test's limit of 60 tokens")
        return forward(self, inputs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Objective, "forward", limited)
    made = stepper(objective)
    report = made.step(0, packs)
    assert report.images == 10
    assert max(largest[-report.packs :]) <= 60
    assert_gradients(objective, expected)
    assert made.budget.tokens < 1000
    monkeypatch.setattr(Objective, "forward", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("always")))
    with pytest.raises(InvalidInputError, match="memory ran out"):
        made.step(1, packs)


def test_a_loss_that_is_no_number_changes_nothing() -> None:
    objective = Objective(NaViT(CONFIG, seed=1))
    made = stepper(objective)
    made.step(0, packs_of(1000))
    before = copy.deepcopy(objective.state_dict())
    packs = packs_of(1000)
    packs[0].targets[0] = np.nan
    report = made.step(1, packs)
    assert (report.taken, report.wrong) == (False, "not finite")
    for name, value in objective.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_soft_targets_and_smoothing_are_torchs() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(7, 5, generator=rng), torch.rand(7, 5, generator=rng).softmax(1)
    expected = functional.cross_entropy(logits, targets, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(classification_loss(logits, targets, smoothing=0.1), expected)
    binary = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)
    torch.testing.assert_close(classification_loss(logits, targets, kind="sigmoid"), binary)


def test_groups_have_the_rates_and_decays_of_timms() -> None:
    from timm.optim import param_groups_layer_decay

    model = NaViT(NaViTConfig(width=32, depth=3, heads=2, mlp_width=64, patch_px=8, pooling="cls", num_classes=2))

    def group_matcher(coarse: bool = False) -> dict[str, object]:
        del coarse
        blocks = [(r"^blocks\.(\d+)", None), (r"^(?:norm|pooling|head)", (10**6,))]  # a layer of its own, as in BEiT
        return {"stem": r"^(?:embed|positions|prefix)", "blocks": blocks}

    model.group_matcher = group_matcher  # type: ignore[assignment]
    added = [name for name, _ in model.named_parameters() if name.endswith("table")]
    theirs = param_groups_layer_decay(
        model, weight_decay=0.05, no_weight_decay_list=added, layer_decay=0.7, verbose=False
    )
    expected = {id(p): (g["lr_scale"], g["weight_decay"]) for g in theirs for p in g["params"]}
    ours = param_groups(model, depth=3, weight_decay=0.05, layer_decay=0.7)
    found = {id(p): (g["lr_scale"], g["weight_decay"]) for g in ours for p in g["params"]}
    assert found.keys() == expected.keys()
    for key, (scale, decay) in expected.items():
        assert found[key] == (pytest.approx(scale), decay)


def test_the_average_is_timms() -> None:
    from timm.utils import ModelEmaV2

    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    theirs, ours = ModelEmaV2(model, decay=0.8), Ema(model, decay=0.8, warmup=False)
    for _ in range(5):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        theirs.update(model)
        ours.update(model)
    for name, value in theirs.module.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], value)
    warm = Ema(model, decay=0.999)
    for _ in range(3):
        warm.update(model)
    torch.testing.assert_close(warm.model.state_dict()["0.weight"], model.state_dict()["0.weight"])


def test_a_dropped_branch_is_left_out_for_whole_images_and_the_mean_stays() -> None:
    model = NaViT(CONFIG, seed=1).train()
    pack = packs_of(1000)[0]
    inputs = pack.inputs("padded", torch.device("cpu"))
    with torch.no_grad():
        whole = model(**inputs)["tokens"]
        path = DropPath(model, 0.5)
        assert torch.equal(model(**inputs)["tokens"], whole), "nothing is left out before it is drawn"
        outputs = []
        for seed in range(8):
            path.draw(inputs["segment_ids"], len(pack.images), seed)
            outputs.append(model(**inputs)["tokens"])
        path.draw(inputs["segment_ids"], len(pack.images), 0)
        assert torch.equal(model(**inputs)["tokens"], outputs[0])
        assert torch.equal(model.eval()(**inputs)["tokens"], whole)
    assert path.rates == [0.0, 0.5]
    kinds = set()
    for n in range(len(pack.images)):
        own = inputs["segment_ids"] == n
        kinds |= {tuple(np.round(one[own].flatten().tolist(), 3)) for one in outputs}
    assert len(kinds) > len(pack.images), "images differ in what they leave out"
    factors = torch.zeros(1)
    for seed in range(4000):
        path.draw(torch.zeros(1, dtype=torch.int32), 1, seed)
        assert path._factors is not None
        factors += path._factors[2][0]
    assert abs(float(factors) / 4000 - 1) < 0.08  # 5 deviations


def siglip(x: Tensor, y: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """As the paper's pseudocode writes it (arXiv:2303.15343, algorithm 1)."""
    logits = functional.normalize(x) @ functional.normalize(y).T * scale + bias
    labels = 2 * torch.eye(len(x)) - 1
    return -functional.logsigmoid(labels * logits).sum() / len(x)


def clip(x: Tensor, y: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    logits = functional.normalize(x) @ functional.normalize(y).T * scale + bias
    pairs = torch.arange(len(x))
    return (functional.cross_entropy(logits, pairs) + functional.cross_entropy(logits.T, pairs)) / 2


@pytest.mark.parametrize(("kind", "oracle"), [("sigmoid", siglip), ("softmax", clip)])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_chunked_contrastive_losses_are_the_whole_ones(kind: str, oracle: Callable[..., Tensor], chunk: int) -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randn(11, 6, generator=rng, requires_grad=True) for _ in range(2))
    loss = ContrastiveLoss(kind=kind, chunk=chunk)
    inputs = (x, y, loss.log_scale, loss.bias)
    found = loss(x, y)
    expected = oracle(x, y, loss.log_scale.exp(), loss.bias)
    torch.testing.assert_close(found, expected)
    for a, b in zip(torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_gradients_through_one_pack_at_a_time_are_those_of_all_at_once() -> None:
    model = NaViT(CONFIG, seed=1)
    loss = ContrastiveLoss(chunk=3)
    others = torch.randn(10, 32, generator=torch.Generator().manual_seed(0))
    inputs = [pack.inputs("padded", torch.device("cpu")) for pack in packs_of(60)]
    assert len(inputs) > 2
    value = loss(torch.cat([model(**one)["embedding"] for one in inputs]), others)
    value.backward()
    expected = {
        n: p.grad.clone() for n, p in (*model.named_parameters(), *loss.named_parameters()) if p.grad is not None
    }
    model.zero_grad()
    loss.zero_grad()
    embed = [lambda one=one: model(**one)["embedding"] for one in inputs]
    torch.testing.assert_close(backward_through_packs(embed, others, loss), value.detach())
    found = {n: p.grad for n, p in (*model.named_parameters(), *loss.named_parameters()) if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-3)


def test_a_teacher_is_followed_and_images_that_it_has_not_seen_do_not_count(tmp_path: object) -> None:
    teacher = NaViT(CONFIG, seed=9)
    table = teacher_embeddings(teacher, DATA, max_tokens=36, images_per_pack=3)
    with torch.no_grad():
        alone = teacher.forward_images(
            [
                PackMaker(dataset=DATA, patch_px=8).augment.apply(
                    DATA.images[0],
                    *(8 * max(1, (2 * s + 8) // 16) for s in DATA.images[0].shape[:2]),
                    np.random.default_rng(0),
                )
            ]
        )["embedding"][0]
    if DATA.images[0].shape[0] * DATA.images[0].shape[1] < 36 * 64 * 0.8:
        torch.testing.assert_close(torch.from_numpy(table[0]), alone, atol=1e-5, rtol=1e-4)
    table[3] = np.nan
    objective = Objective(NaViT(CONFIG, seed=1), distillation=Distillation(32, table), classification_weight=0.0)
    packs = packs_of(1000)
    made = stepper(objective)
    reports = [made.step(k, packs) for k in range(8)]
    assert reports[-1].loss < 0.7 * reports[0].loss
    assert dict(reports[0].losses)[3] == 0.0
    path = tmp_path / "teacher.safetensors"  # type: ignore[operator]
    save_embeddings(table, path)
    assert np.array_equal(load_embeddings(path, 10), table, equal_nan=True)
    with pytest.raises(InvalidInputError, match="embeddings of 10 images; expected 11"):
        load_embeddings(path, 11)


def settled(action: str) -> Monitor:
    monitor = Monitor(options=MonitorOptions(action=action, window=30, patience=2))
    rng = np.random.default_rng(0)
    for _ in range(30):
        assert monitor.is_taken(2 + 0.1 * rng.standard_normal(), 1 + 0.1 * rng.random()) == (True, "")
    return monitor


def test_spikes_are_seen_and_handled_as_asked() -> None:
    assert settled("ignore").is_taken(9.0, 1.0) == (True, "loss spike")
    assert settled("skip").is_taken(2.0, 90.0) == (False, "gradient spike")
    cut = settled("cut")
    assert cut.is_taken(math.nan, 1.0) == (False, "not finite")
    assert cut.rate_scale == 0.5
    with pytest.raises(TrainingStoppedError, match="loss spike: loss 9"):
        settled("stop").is_taken(9.0, 1.0)
    patient = settled("skip")
    for _ in range(2):
        assert patient.is_taken(9.0, 1.0) == (False, "loss spike")
    with pytest.raises(TrainingStoppedError, match="3 in a row"):
        patient.is_taken(9.0, 1.0)
    restored = Monitor(options=patient.options)
    restored.restore(patient.state())
    assert restored == patient
    assert patient.events == {"loss spike": 3}


def test_an_overflow_of_float16_lowers_the_scale_and_changes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = Objective(NaViT(CONFIG, seed=1))
    precision = Precision("fp16", torch.device("cpu"))
    average = Ema(objective.model, decay=0.5)
    made = stepper(objective, precision=precision, ema=average)
    before = copy.deepcopy(objective.state_dict())
    scale = precision.scaler.get_scale()
    forward = Objective.forward

    def too_large(self: Objective, *arguments: object) -> object:
        each, logits = forward(self, *arguments)  # type: ignore[arg-type]
        return each + (each - each.detach()) * torch.tensor(
            1e38
        ), logits  # the same loss, gradients of 1e38 times as much

    monkeypatch.setattr(Objective, "forward", too_large)
    report = made.step(0, packs_of(1000))
    assert (report.taken, report.wrong) == (False, "overflow")
    assert precision.scaler.get_scale() == scale / 2
    for name, value in objective.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert average.steps == 0
    monkeypatch.setattr(Objective, "forward", forward)
    assert made.step(1, packs_of(1000)).taken

"""Attention as it is watched, against PyTorch's own; what is dropped by it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from test_training_step import CONFIG, packs_of, stepper

from navit_edge.errors import InvalidInputError
from navit_edge_export.layers.attention import SelfAttention
from navit_edge_export.model import NaViT
from navit_edge_export.training.attention import attention_health, attention_received, drop_by_attention, watched
from navit_edge_export.training.loader import TrainingPack
from navit_edge_export.training.monitor import Monitor, MonitorOptions
from navit_edge_export.training.objective import Objective

CPU = torch.device("cpu")


def reference(model: NaViT, pack: TrainingPack, block: int) -> list[torch.Tensor]:
    """Attention [H, n, n] of each image in a block: identity matrices as values give it back."""
    found: list[torch.Tensor] = []
    with watched(model) as seen, torch.no_grad():
        model(**pack.inputs("masked", CPU))
    for start, stop in zip(pack.pack.cu_seqlens[:-1], pack.pack.cu_seqlens[1:], strict=True):
        q, k = (x[start:stop].transpose(0, 1) for x in (seen[block].query, seen[block].key))
        eye = torch.eye(int(stop - start)).expand(q.shape[0], -1, -1)
        found.append(torch.nn.functional.scaled_dot_product_attention(q, k, eye))
    return found


def test_attention_is_watched_as_pytorch_computes_it() -> None:
    model = NaViT(CONFIG, seed=1).eval()
    pack = packs_of(1000)[0]
    received = attention_received(model, pack, lowering="padded", device=CPU)
    for start, own in zip(pack.pack.cu_seqlens, reference(model, pack, 1), strict=False):
        expected = own.mean((0, 1)).numpy()
        np.testing.assert_allclose(received[start : start + len(expected)], expected, atol=1e-5)
    health = attention_health(model, pack, lowering="padded", device=CPU, most_images=len(pack.images))
    shares = []
    for block in range(2):
        every = reference(model, pack, block)
        shares += [torch.special.entr(own.double()).sum(-1).mean(1) / math.log(own.shape[1]) for own in every]
    by_head = torch.stack(shares).view(2, len(pack.images), 2).mean(1)
    assert health.entropy == pytest.approx(float(by_head.mean()), abs=1e-5)
    assert health.least_entropy == pytest.approx(float(by_head.min()), abs=1e-5)
    assert health.dead_heads == 0
    assert model.blocks[0].attention.query_norm._forward_hooks == {}, "nothing is left behind"


def test_a_head_that_gives_nothing_is_dead_and_large_logits_are_unstable() -> None:
    model = NaViT(CONFIG, seed=1)
    attention = model.blocks[1].attention
    assert isinstance(attention, SelfAttention)
    with torch.no_grad():
        attention.qkv.weight[2 * 32 : 2 * 32 + 16] = 0  # the values of the first of two heads
        attention.query_norm.weight.mul_(1000)  # type: ignore[operator, union-attr]
    health = attention_health(model, packs_of(1000)[0], lowering="padded", device=CPU)
    assert health.dead_heads == 1
    assert health.least_entropy < 0.1
    assert health.max_logit > 500
    monitor = Monitor(options=MonitorOptions(attention_steps=2, max_logit=500.0))
    made = stepper(Objective(model), monitor=monitor)
    report = made.step(0, packs_of(1000))
    assert (report.taken, report.wrong) == (False, "attention logit")
    assert report.attention is not None
    assert report.attention["dead_heads"] == 1
    assert made.step(1, packs_of(1000)).attention is None


def test_patches_that_nobody_attends_to_go_first() -> None:
    model = NaViT(CONFIG, seed=1)
    whole = packs_of(1000)[0]
    images = tuple(one._replace(kept=max(1, one.rows * one.columns // 2)) for one in whole.images)
    planned = TrainingPack(**{**vars(whole), "images": images})
    received = attention_received(model, planned, lowering="padded", device=CPU)
    stays, goes = [], []
    for seed in range(10):
        thin = drop_by_attention(model, planned, lowering="padded", device=CPU, seed=seed)
        assert thin.pack.lengths == [one.kept for one in images]
        kept = {tuple(row) for row in np.column_stack([thin.pack.segment_ids, thin.pack.positions]).tolist()}
        for place, row in enumerate(np.column_stack([whole.pack.segment_ids, whole.pack.positions]).tolist()):
            count = images[row[0]].rows * images[row[0]].columns
            (stays if tuple(row) in kept else goes).append(received[place] * count)
    assert np.mean(stays) > np.mean(goes)
    again = drop_by_attention(model, planned, lowering="padded", device=CPU, seed=9)
    assert np.array_equal(again.pack.positions, thin.pack.positions)


def test_models_whose_scores_cannot_be_seen_are_refused() -> None:
    model = NaViT(CONFIG)
    model.rotary = torch.nn.Identity()
    with pytest.raises(InvalidInputError, match="rotary positions"), watched(model):
        pass


def test_looking_at_attention_changes_no_step_also_with_branches_left_out() -> None:
    packs = packs_of(60)
    assert len(packs) > 1
    reports = []
    for every in (0, 1):
        objective = Objective(NaViT(CONFIG, seed=1), drop_path=0.5)
        made = stepper(objective, monitor=Monitor(options=MonitorOptions(attention_steps=every)))
        reports.append([made.step(k, packs) for k in range(3)])
    plain, watched_ones = reports
    assert [one.loss for one in plain] == [one.loss for one in watched_ones]
    assert all(one.attention is not None for one in watched_ones)

"""A model's config, and checkpoint files: what they hold, and what is refused."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from navit_edge.errors import InvalidInputError
from navit_edge_export.families.registry import DEFAULT_PREPROCESSING, import_checkpoint
from navit_edge_export.model import SIZES, NaViT, NaViTConfig, load_checkpoint, save_checkpoint


def small(**changes: Any) -> NaViTConfig:
    fields: dict[str, Any] = {"width": 32, "depth": 2, "heads": 4, "mlp_width": 64, "patch_px": 4, "num_classes": 7}
    return NaViTConfig(**{**fields, **changes})


def test_named_sizes_are_those_of_the_vit_papers() -> None:
    """Ti, S: Touvron et al. (arXiv:2012.12877); B, L: Dosovitskiy et al. (arXiv:2010.11929)."""
    shapes = {name: (c.width, c.depth, c.heads, c.mlp_width, c.patch_px) for name, c in SIZES.items()}
    assert shapes == {
        "ti16": (192, 12, 3, 768, 16),
        "s16": (384, 12, 6, 1536, 16),
        "b16": (768, 12, 12, 3072, 16),
        "l16": (1024, 24, 16, 4096, 16),
    }


def test_a_config_survives_json() -> None:
    config = small(mean=(0.1, 0.2, 0.3), pooling="multi", norm_eps=1e-5)
    assert NaViTConfig.from_json(config.to_json()) == config
    assert NaViTConfig.from_dict(config.to_dict()) == config
    assert config.mean == (0.1, 0.2, 0.3)


def test_a_config_is_frozen_and_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        small().width = 64  # type: ignore[misc]
    with pytest.raises(TypeError):
        NaViTConfig(64)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 30}, "width is 30; expected a multiple of heads, 4"),
        ({"width": 48, "heads": 4}, "width / heads is 12; expected a multiple of 8"),
        ({"depth": 0}, "depth is 0; expected at least 1"),
        ({"depth": 2.5}, "depth is 2.5; expected int"),
        ({"qkv_bias": 1}, "qkv_bias is 1; expected bool"),
        ({"mean": (0.5,)}, "one number for each of the 3 channels"),
        ({"std": (1.0, 0.0, 1.0)}, "greater than 0 in every channel"),
        ({"pooling": "gap"}, "pooling is gap; expected one of map, mean, cls, multi"),
        ({"position_kind": "rope"}, "expected one of learned-absolute, learned-fractional, sinusoidal, fourier"),
        ({"position_entries": 1}, "position_entries is 1; expected at least 2"),
        ({"norm_eps": 0.0}, "norm_eps is 0.0; expected greater than 0"),
        ({"num_classes": -1}, "num_classes is -1"),
    ],
)
def test_a_config_that_makes_no_model_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        small(**changes)
    assert message in str(caught.value)


def test_a_config_file_may_change_a_named_size(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"size": "ti16", "pooling": "mean", "mean": [0.4, 0.4, 0.4]}')
    expected = dataclasses.replace(SIZES["ti16"], pooling="mean", mean=(0.4, 0.4, 0.4))
    assert NaViTConfig.from_file(path) == expected
    for text, message in (
        ("{", "not JSON"),
        ("[1]", "expected an object"),
        ('{"dim": 3}', "unknown fields: dim"),
        ('{"size": "xl"}', "expected one of ti16, s16, b16, l16"),
    ):
        path.write_text(text)
        with pytest.raises(InvalidInputError, match=message):
            NaViTConfig.from_file(path)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        NaViTConfig.from_file(tmp_path / "none.json")


def test_a_checkpoint_holds_weights_and_config(tmp_path: Path) -> None:
    model = NaViT(small(pooling="cls", position_kind="fourier"), seed=11)
    save_checkpoint(model, tmp_path / "model.safetensors")
    loaded = load_checkpoint(tmp_path / "model.safetensors")
    assert loaded.config == model.config
    assert not loaded.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_a_checkpoint_says_how_it_is_exported(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(small().num_classes)]
    path = tmp_path / "model.safetensors"
    save_checkpoint(NaViT(small()), path, labels=names, max_tokens=81, alpha="composite")
    found = import_checkpoint(path).preprocessing
    assert found.labels == tuple(names)
    assert (found.sizing.rule, found.sizing.max_tokens, found.alpha) == ("token-cap", 81, "composite")
    save_checkpoint(NaViT(small()), path)
    assert dataclasses.replace(import_checkpoint(path).preprocessing, sources={}) == DEFAULT_PREPROCESSING


def test_a_checkpoint_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    path, model = tmp_path / "model.safetensors", NaViT(small(num_classes=2))
    found = set()
    for _ in range(20):  # safetensors alone orders the metadata by chance
        save_checkpoint(model, path, labels=["naïve\x01", 'a "b"'], max_tokens=81)
        found.add(path.read_bytes())
    assert len(found) == 1
    assert import_checkpoint(path).preprocessing.labels == ("naïve\x01", 'a "b"')
    assert os.listdir(tmp_path) == ["model.safetensors"]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ('{"labels": ["a", "b"]}', "has 2 labels; its model has"),
        ('{"alpha": "shine"}', "is not as expected: Invalid enum value 'shine'"),
        ('{"max_tokens": -1}', "is not as expected"),
        ("{", "is not as expected"),
    ],
)
def test_a_checkpoint_that_says_nonsense_is_refused(tmp_path: Path, said: str, message: str) -> None:
    from safetensors.torch import save_file

    model, path = NaViT(small()), tmp_path / "model.safetensors"
    metadata = {"navit_edge.config": model.config.to_json(), "navit_edge.preprocessing": said}
    save_file(dict(model.state_dict()), path, metadata=metadata)
    with pytest.raises(InvalidInputError) as caught:
        import_checkpoint(path)
    assert message in str(caught.value)


def test_a_checkpoint_that_does_not_fit_names_the_keys(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = NaViT(small())
    tensors = dict(model.state_dict())
    del tensors["head.bias"]
    tensors["neck.weight"] = torch.zeros(3)
    tensors["norm.weight"] = torch.zeros(5)
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata={"navit_edge.config": model.config.to_json()})
    with pytest.raises(InvalidInputError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "1 missing key (head.bias)" in message
    assert "1 unexpected key (neck.weight)" in message
    assert "1 key of another shape (norm.weight [5] instead of [32])" in message

    others = {f"other.{i}": torch.zeros(1000) for i in range(9)}  # so many numbers as such a model could have
    save_file(others, path, metadata={"navit_edge.config": small().to_json()})
    with pytest.raises(InvalidInputError) as caught:
        load_checkpoint(path)
    assert f"{len(model.state_dict())} missing keys" in str(caught.value)
    assert "9 unexpected keys (other.0, other.1, other.2, other.3, other.4, ...)" in str(caught.value)


def test_a_checkpoint_without_config_needs_one(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = NaViT(small(), seed=4)
    path = tmp_path / "plain.safetensors"
    save_file({name: tensor.to(torch.float16) for name, tensor in model.state_dict().items()}, path)
    with pytest.raises(InvalidInputError, match=r'no "navit_edge\.config" in its metadata'):
        load_checkpoint(path)
    loaded = load_checkpoint(path, small())
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, atol=1e-3, rtol=0)


def test_a_checkpoint_and_another_config_contradict_each_other(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(NaViT(small()), path)
    with pytest.raises(InvalidInputError, match="holds another config"):
        load_checkpoint(path, small(pooling="mean"))


def test_pickles_and_missing_files_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(NaViT(small()).state_dict(), path)
    with pytest.raises(InvalidInputError, match=r"expected a \.safetensors file"):
        load_checkpoint(path)
    with pytest.raises(InvalidInputError, match="cannot read the checkpoint"):
        load_checkpoint(tmp_path / "none.safetensors")

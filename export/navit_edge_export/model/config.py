"""What a NaViT is made of: one frozen dataclass, kept as JSON in the checkpoint's metadata."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from navit_edge import files
from navit_edge.errors import InvalidInputError

#: One function of the row and one of the column.
FACTORIZED_KINDS = ("learned-absolute", "learned-fractional", "sinusoidal", "fourier")
#: A learned table of rows and columns, resampled to each image's grid -> the kernel.
TABLE_KINDS = {"table-bilinear": "bilinear", "table-bicubic": "bicubic"}
POSITION_KINDS = (*FACTORIZED_KINDS, *TABLE_KINDS)
POSITION_INITS = ("random", "sin-cos")
POSITION_COMBINES = ("sum", "concat")
QK_NORMS = ("layer", "rms", "off")
POOLINGS = ("map", "mean", "cls", "multi")
GELUS = ("erf", "tanh")
OUTPUTS = ("logits", "embedding", "tokens")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NaViTConfig:
    """A NaViT. The defaults follow the paper: pre-norm, query-key normalization, no biases in queries, keys, values and
    norms, attention pooling."""

    width: int = 384  # D
    depth: int = 12
    heads: int = 6  # H; D / H must be a multiple of 8
    mlp_width: int = 1536
    patch_px: int = 16  # P
    channels: int = 3  # C
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)  # of pixels / 255, per channel
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    position_kind: str = "learned-fractional"
    position_combine: str = "sum"  # unused by the tables
    position_entries: int = 64  # rows of each learned table, and its columns; unused by "sinusoidal" and "fourier"
    position_antialias: bool = False  # of the tables: the kernel is stretched if the grid is smaller
    position_init: str = "random"  # "sin-cos": learned tables start as the sinusoidal embedding of their entries
    qk_norm: str = "layer"
    logit_scale: bool = False  # a learned factor of attention's scores for each head, with query-key normalization
    pooling: str = "map"
    qkv_bias: bool = False
    proj_bias: bool = True
    mlp_bias: bool = True
    norm_bias: bool = False
    gelu: str = "erf"
    norm_eps: float = 1e-6
    num_classes: int = 1000  # 0: no classifier, the embedding only

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _check_type(field.name, field.type, getattr(self, field.name))
        for name in ("width", "depth", "heads", "mlp_width", "patch_px", "channels"):
            _expect(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _expect(self.num_classes >= 0, "num_classes", self.num_classes, "0 (no classifier) or more")
        _expect(self.position_entries >= 2, "position_entries", self.position_entries, "at least 2")
        _expect(self.norm_eps > 0, "norm_eps", self.norm_eps, "greater than 0")
        for name, known in (
            ("position_kind", POSITION_KINDS),
            ("position_combine", POSITION_COMBINES),
            ("position_init", POSITION_INITS),
            ("qk_norm", QK_NORMS),
            ("pooling", POOLINGS),
            ("gelu", GELUS),
        ):
            _expect(getattr(self, name) in known, name, getattr(self, name), f"one of {', '.join(known)}")
        _expect(not self.logit_scale or self.qk_norm != "off", "qk_norm", self.qk_norm, "layer or rms with logit_scale")
        learned = self.position_kind.startswith(("learned", "table"))
        _expect(
            self.position_init == "random" or learned, "position_init", self.position_init, "random without a table"
        )
        for name in ("mean", "std"):
            values = getattr(self, name)
            _expect(len(values) == self.channels, name, values, f"one number for each of the {self.channels} channels")
        _expect(min(self.std) > 0, "std", self.std, "greater than 0 in every channel")
        _expect(self.width % self.heads == 0, "width", self.width, f"a multiple of heads, {self.heads}")
        head = self.width // self.heads
        _expect(head % 8 == 0, "width / heads", head, "a multiple of 8, as TensorRT's attention kernels need")

    @property
    def prefix_tokens(self) -> int:
        """Rows at the start of each image that are no patches: one for CLS pooling."""
        return 1 if self.pooling == "cls" else 0

    @property
    def patch_features(self) -> int:
        """F = P*P*C"""
        return self.patch_px * self.patch_px * self.channels

    def outputs(self) -> tuple[str, ...]:
        """The outputs that this model can give."""
        return OUTPUTS if self.num_classes else OUTPUTS[1:]

    def to_dict(self) -> dict[str, Any]:
        """Every field, in JSON's types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def to_json(self) -> str:
        """One line of JSON with every field."""
        return json.dumps(self.to_dict())

    @staticmethod
    def from_dict(values: dict[str, Any]) -> NaViTConfig:
        """A config from JSON's types; fields left out take their defaults. Raises InvalidInputError."""
        known = [field.name for field in dataclasses.fields(NaViTConfig)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise InvalidInputError(
                f"the model config has unknown fields: {', '.join(unknown)}; known are {', '.join(known)}"
            )
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return NaViTConfig(**fields)

    @staticmethod
    def from_json(text: str) -> NaViTConfig:
        """The inverse of ``to_json``. Raises InvalidInputError."""
        return NaViTConfig.from_dict(_json_object(text))

    @staticmethod
    def from_fields(values: dict[str, Any]) -> NaViTConfig:
        """As ``from_dict``; ``"size"``, one of SIZES, may name a config that the other fields change."""
        changes = {name: value for name, value in values.items() if name != "size"}
        size = values.get("size")
        return NaViTConfig.from_dict({**({} if size is None else sized(size).to_dict()), **changes})

    @staticmethod
    def from_file(path: Path) -> NaViTConfig:
        """Reads a JSON file: an object of fields, and optionally ``"size"``, one of SIZES, that they change."""
        text = files.read_text(path, expected="an object of fields, as JSON")
        try:
            return NaViTConfig.from_fields(_json_object(text))
        except InvalidInputError as error:
            raise InvalidInputError(f"{path}: {error}") from error


def _json_object(text: str) -> dict[str, Any]:
    values = files.parse_json(text, what="the model config")
    if not isinstance(values, dict):
        raise InvalidInputError(f"the model config is a JSON {type(values).__name__}; expected an object of fields")
    return values


def _expect(holds: bool, name: str, found: object, expected: str) -> None:
    if not holds:
        raise InvalidInputError(f"model config: {name} is {found}; expected {expected}")


def _check_type(name: str, annotation: object, value: object) -> None:
    if annotation == "tuple[float, ...]":
        good = isinstance(value, tuple) and all(isinstance(v, (int, float)) for v in value)
    elif annotation == "float":
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
    elif annotation == "int":
        good = isinstance(value, int) and not isinstance(value, bool)
    elif annotation == "bool":
        good = isinstance(value, bool)
    else:
        good = isinstance(value, str)
    _expect(good, name, repr(value), str(annotation))


SIZES = {
    "ti16": NaViTConfig(width=192, depth=12, heads=3, mlp_width=768),
    "s16": NaViTConfig(width=384, depth=12, heads=6, mlp_width=1536),
    "b16": NaViTConfig(width=768, depth=12, heads=12, mlp_width=3072),
    "l16": NaViTConfig(width=1024, depth=24, heads=16, mlp_width=4096),
}


def sized(size: str, **changes: Any) -> NaViTConfig:
    """The config of a named size, with some fields changed. Raises InvalidInputError."""
    if size not in SIZES:
        raise InvalidInputError(f'model size "{size}" is unknown; expected one of {", ".join(SIZES)}')
    return dataclasses.replace(SIZES[size], **changes)

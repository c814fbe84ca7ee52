"""From a checkpoint's tensors to a packed model's parameters: which are made of which, and what is said where they do
not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from navit_edge.errors import InvalidInputError
from navit_edge_export.families.checkpoint import outline

NAMES_SHOWN = 5

Combine = Callable[..., Tensor]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    sources: tuple[str, ...]
    combine: Combine | None


class StateMap:
    """Parameter of ours -> the tensors that it is made of, by their names in the checkpoint."""

    def __init__(self, prefix: str = "") -> None:
        """``prefix`` stands before every source's name."""
        self.prefix = prefix
        self.entries: dict[str, _Entry] = {}
        self.ignored: list[str] = []

    def copy(self, target: str, source: str) -> None:
        """The tensor as it is."""
        self.make(target, source)

    def make(self, target: str, *sources: str, by: Combine | None = None) -> None:
        """What ``by`` makes of the tensors, in their order."""
        self.entries[target] = _Entry(sources=tuple(self.prefix + source for source in sources), combine=by)

    def layer(self, target: str, source: str, *, bias: bool = True) -> None:
        """Weight and bias of a linear layer or a norm."""
        for leaf in ("weight", "bias") if bias else ("weight",):
            self.copy(f"{target}.{leaf}", f"{source}.{leaf}")

    def stack(self, target: str, *sources: str, bias: bool = True) -> None:
        """One linear layer of several, its outputs one after another."""
        for leaf in ("weight", "bias") if bias else ("weight",):
            self.make(f"{target}.{leaf}", *(f"{source}.{leaf}" for source in sources), by=concatenate)

    def ignore(self, *patterns: str) -> None:
        """Tensors that an import does without, as ``text_model.*`` (``*``, ``?`` as in a shell); no prefix is added."""
        self.ignored.extend(patterns)

    def sources(self) -> list[str]:
        """All names that are read, in the model's order."""
        return [source for entry in self.entries.values() for source in entry.sources]

    def misfit(self, tensors: Mapping[str, Tensor], model: nn.Module) -> str:
        """What is missing, unexpected or of another shape; empty if all fits."""
        wanted = dict.fromkeys(self.sources())
        missing = [name for name in wanted if name not in tensors]
        unexpected = [
            name
            for name in tensors
            if name not in wanted and not any(fnmatchcase(name, pattern) for pattern in self.ignored)
        ]
        problems = [listed("missing {}", missing), listed("unexpected {}", unexpected)]
        problems.append(listed("{} of another shape", self._wrong_shapes(tensors, model)))
        return "; ".join(filter(None, problems))

    def load(self, tensors: Mapping[str, Tensor], model: nn.Module) -> list[str]:
        """Fills the model's parameters, in float32. The caller has asked ``misfit``.

        Returns the names of the tensors that hold NaN or infinity.
        """
        parameters = dict(model.named_parameters())
        wrong: list[str] = []
        with torch.no_grad():
            for target, entry in self.entries.items():
                parameters[target].copy_(_combined(entry, tensors))
                if not parameters[target].isfinite().all():
                    wrong += [name for name in entry.sources if not tensors[name].isfinite().all()] or [target]
        return list(dict.fromkeys(wrong))

    def check_targets(self, model: nn.Module) -> None:
        """Raises ValueError if the map and the model's parameters are not the same: a bug in the importer."""
        names = {name for name, _ in model.named_parameters()}
        if names != self.entries.keys():
            raise ValueError(
                f"the importer maps {sorted(self.entries.keys() - names)} that the model does not have and leaves out "
                f"{sorted(names - self.entries.keys())}"
            )

    def _wrong_shapes(self, tensors: Mapping[str, Tensor], model: nn.Module) -> list[str]:
        self.check_targets(model)
        wrong = []
        for target, parameter in model.named_parameters():
            entry = self.entries[target]
            if any(name not in tensors for name in entry.sources):
                continue
            outlines = {name: outline(tensors, name) for name in entry.sources}
            shape: list[int] = []
            for known in (outlines, tensors):  # some combinations need the numbers
                try:
                    shape = list(_combined(entry, known).shape)
                    break
                except InvalidInputError:
                    raise
                except (RuntimeError, IndexError, ValueError):  # shapes that do not go together
                    continue
            if shape != list(parameter.shape):
                found = ", ".join(f"{name} {list(one.shape)}" for name, one in outlines.items())
                gives = f", which gives {shape}" if entry.combine is not None and shape else ""
                wrong.append(f"{found}{gives} instead of {list(parameter.shape)}")
        return wrong


def concatenate(*tensors: Tensor) -> Tensor:
    """One after another along the first axis."""
    return torch.cat(tensors)


def patch_rows_from_convolution(weight: Tensor) -> Tensor:
    """The weight of a patch convolution [D, C, P, P] as a linear layer's [D, F], features in (row, column, channel)
    order."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def patch_rows_from_channels_first(channels: int) -> Combine:
    """For [..., F] with features in (channel, row, column) order: the same in (row, column, channel) order."""

    def reorder(weight: Tensor) -> Tensor:
        pixels = weight.shape[-1] // channels
        return weight.view(*weight.shape[:-1], channels, pixels).transpose(-1, -2).flatten(-2)

    return reorder


def as_vector(tensor: Tensor) -> Tensor:
    """[1, 1, D] -> [D]"""
    return tensor.flatten()


def as_rows(tensor: Tensor) -> Tensor:
    """[..., D] -> [all before, D]"""
    return tensor.flatten(0, -2)


def listed(what: str, names: Iterable[str]) -> str:
    """'7 missing keys (a, b, c, d, e, ...)', or nothing."""
    names = list(names)
    if not names:
        return ""
    shown = ", ".join(names[:NAMES_SHOWN]) + (", ..." if len(names) > NAMES_SHOWN else "")
    return f"{len(names)} {what.format('keys' if len(names) > 1 else 'key')} ({shown})"


def _combined(entry: _Entry, tensors: Mapping[str, Tensor]) -> Tensor:
    read = [tensors[name] for name in entry.sources]
    if not all(tensor.is_floating_point() for tensor in read):
        names = ", ".join(f"{n} {t.dtype}" for n, t in zip(entry.sources, read, strict=True))
        raise InvalidInputError(f"{names}: expected floats; quantized checkpoints are not read, dequantize it first")
    values = [tensor.float() for tensor in read]
    return values[0] if entry.combine is None else entry.combine(*values)

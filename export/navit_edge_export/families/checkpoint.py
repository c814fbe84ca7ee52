"""What a user has: a safetensors file, a Hugging Face folder, or a file of torch.save. Pickle is never run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from navit_edge.errors import InvalidInputError
from navit_edge.files import read_json

#: Where files of torch.save keep the weights, beside what training needs.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
#: In front of every name if a model was saved that torch wraps for several GPUs or for compilation.
_WRAPPING = ("module.", "_orig_mod.", "module.")
_FOLDER = "expected a folder with config.json and model.safetensors (or its shards and their index)"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights and what lies beside them. Tensors are read when they are asked for."""

    path: Path
    tensors: Mapping[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)  # config.json
    processor: dict[str, Any] = field(default_factory=dict)  # preprocessor_config.json
    metadata: dict[str, str] = field(default_factory=dict)  # of a safetensors file
    frames: int = 1  # of a film that a patch of the model is to hold; ``processor`` is then that of videos

    def count_elements(self) -> int:
        """Of all tensors together."""
        tensors = self.tensors
        while isinstance(tensors, Renamed):
            tensors = tensors.tensors
        if isinstance(tensors, SafetensorsFiles):
            return tensors.count_elements()
        return sum(tensor.numel() for tensor in tensors.values())


class Renamed(Mapping[str, Tensor]):
    """The same tensors by other names, read when they are asked for."""

    def __init__(self, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        """names: new name -> name in ``tensors``."""
        self.tensors = tensors
        self._names = names

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    """Without what all names begin with; the same if not all do."""
    if not all(name.startswith(prefix) for name in tensors):
        return tensors
    return Renamed(tensors, {name.removeprefix(prefix): name for name in tensors})


class SafetensorsFiles(Mapping[str, Tensor]):
    """The tensors of one file or of several shards, each read when it is asked for."""

    def __init__(self, files: Iterable[Path]) -> None:
        """Raises InvalidInputError if one is missing or is no safetensors file."""
        from safetensors import SafetensorError, safe_open

        self.metadata: dict[str, str] = {}
        self._handles: dict[str, Any] = {}
        for path in files:
            try:
                handle: Any = safe_open(path, framework="pt")
            except (OSError, SafetensorError) as error:
                raise InvalidInputError(
                    f"cannot read the checkpoint {path}: {error}; expected a .safetensors file (pickle is never run)"
                ) from error
            self.metadata |= handle.metadata() or {}
            self._handles |= dict.fromkeys(handle.keys(), handle)

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._handles[name].get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._handles)

    def __len__(self) -> int:
        return len(self._handles)

    def count_elements(self) -> int:
        """Of all tensors together, of which none is read."""
        return sum(math.prod(handle.get_slice(name).get_shape()) for name, handle in self._handles.items())


def read_checkpoint(
    path: Path, *, config: Path | None = None, processor: Mapping[str, Any] | None = None, frames: int = 1
) -> Checkpoint:
    """Reads a folder or a file.

    config: A JSON file in place of the folder's config.json.
    processor: Fields that go before those of the folder's preprocessor_config.json, as ``image_mean``.
    frames: Of a film that a patch is to hold. With 2 the settings are those of the folder's video processor.

    Raises InvalidInputError: nothing there that is a checkpoint.
    """
    path = Path(path)
    metadata: dict[str, str] = {}
    settings: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    if path.is_dir():
        tensors = _read_folder(path)
        if (path / "config.json").exists():
            fields = _read_json(path / "config.json")
        settings = _read_processor(path, "image_processor" if frames == 1 else "video_processor")
    elif path.suffix == ".safetensors":
        tensors = SafetensorsFiles([path])
    else:
        tensors = _read_torch(path)
    if isinstance(tensors, SafetensorsFiles):
        metadata = tensors.metadata
    if config is not None:
        fields = _read_json(config)
    for wrapper in _WRAPPING:
        tensors = without_prefix(tensors, wrapper)
    return Checkpoint(
        path=path,
        tensors=tensors,
        config=fields,
        processor={**settings, **(processor or {})},
        metadata=metadata,
        frames=frames,
    )


def _read_processor(folder: Path, part: str) -> dict[str, Any]:
    """As transformers 5 reads it: ``image_processor`` of processor_config.json in place of preprocessor_config.json.

    What else processor_config.json says is of the processor around it, and counts if nothing else says it. part:
    "image_processor", or "video_processor", whose own file is video_preprocessor_config.json; without it an older model
    has both in preprocessor_config.json.
    """
    own = "preprocessor_config.json"
    if part == "video_processor" and (folder / f"video_{own}").exists():
        own = f"video_{own}"
    outer, inner = (
        _read_json(folder / name) if (folder / name).exists() else {} for name in ("processor_config.json", own)
    )
    nested = outer.pop(part, None)
    for other in ("image_processor", "video_processor"):
        outer.pop(other, None)
    if nested is not None and not isinstance(nested, dict):
        raise InvalidInputError(
            f"{folder / 'processor_config.json'}: {part} is {nested!r}; expected an object of fields"
        )
    return {**outer, **(inner if nested is None else nested)}


def _read_folder(folder: Path) -> Mapping[str, Tensor]:
    """The files that transformers takes, in its order: a whole file goes before an index, which may be older."""
    for name in ("model.safetensors", "model.safetensors.index.json"):
        if (folder / name).exists():
            return SafetensorsFiles(_shards(folder, folder / name) if name.endswith(".json") else [folder / name])
    indices = sorted(folder.glob("*.safetensors.index.json"))
    sharded = {path for index in indices for path in _shards(folder, index)}
    whole = sorted(path for path in folder.glob("*.safetensors") if path not in sharded)
    if len(whole) + len(indices) == 1:
        return SafetensorsFiles(whole or sharded)
    if whole or indices:
        names = ", ".join(path.name for path in [*whole, *indices][:5])
        raise InvalidInputError(f"{folder} holds several checkpoints ({names}); name the file of one of them")
    for index in sorted(folder.glob("*.bin.index.json")):
        tensors: dict[str, Tensor] = {}
        for shard in _shards(folder, index):
            tensors |= _read_torch(shard)
        return tensors
    if (folder / "pytorch_model.bin").exists():
        return _read_torch(folder / "pytorch_model.bin")
    raise InvalidInputError(f"{folder} holds no weights; {_FOLDER}")


def _shards(folder: Path, index: Path) -> list[Path]:
    found = _read_json(index).get("weight_map")
    names = list(found.values()) if isinstance(found, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise InvalidInputError(f"{index} names no shards in its folder under weight_map; {_FOLDER}")
    return [folder / name for name in sorted(set(names))]


def _read_json(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise InvalidInputError(f"{path} is a JSON {type(values).__name__}; expected an object of fields")
    return values


def _read_torch(path: Path) -> dict[str, Tensor]:
    """A file of torch.save with tensors and plain containers only."""
    try:
        found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise InvalidInputError(f"cannot read the checkpoint {path}: {error}; {_FOLDER}") from error
    except Exception as error:  # pickle.UnpicklingError, RuntimeError and others, by what is wrong with it
        # PyTorch's own words about what it refuses advise to switch the check off.
        first = str(error).strip().splitlines()[0] if isinstance(error, RuntimeError) and str(error).strip() else ""
        if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
            first = f"it holds {code[1]}, which is more than tensors"
        elif not first:
            first = "it is no file of torch.save"
        raise InvalidInputError(
            f"cannot read the checkpoint {path}: {first}; expected a file of tensors, as torch.load(weights_only=True) "
            "takes it; others run code when they are read: save the state_dict alone, as safetensors"
        ) from error
    for name in _WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    tensors = (
        {name: value for name, value in found.items() if isinstance(value, Tensor)} if isinstance(found, dict) else {}
    )
    if not tensors:
        raise InvalidInputError(f"{path} holds no state_dict; expected names and tensors")
    return tensors

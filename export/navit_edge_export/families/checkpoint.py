"""What a user has: a safetensors file, a Hugging Face folder, or a file of torch.save. Pickle is never run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from navit_edge.errors import InvalidInputError
from navit_edge.files import read_json
from navit_edge_export.families.hub import PROCESSOR_FILES, is_hub_name, open_hub_folder
from navit_edge_export.families.sources import GIVEN, ReadFields

#: Where files of torch.save keep the weights, beside what training needs.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "module")
#: In front of every name if a model was saved that torch wraps for several GPUs or for compilation.
_WRAPPING = ("module.", "_orig_mod.", "module.")
#: Names of types in safetensors files; all others are floats.
_INTEGERS = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "U16": torch.uint16,
    "I32": torch.int32, "U32": torch.uint32, "I64": torch.int64, "U64": torch.uint64,
}  # fmt: skip
_FOLDER = "expected a folder with config.json and model.safetensors (or its shards and their index)"


class Folder(Protocol):
    """Where the files of a checkpoint lie: on this machine, or on the Hub (hub.py)."""

    doubts: list[str]  # what a user should know of these files, though they can be read

    def names(self) -> list[str]:
        """Of its files, sorted."""

    def has(self, name: str) -> bool:
        """Whether there is such a file."""

    def get(self, name: str) -> Path:
        """The file, on this machine."""

    def gather(self, *names: str) -> Path:
        """A folder of this machine that has those of these files that there are."""

    def record(self) -> dict[str, str]:
        """For the manifest's created_by: where the weights came from."""


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.doubts: list[str] = []

    def __str__(self) -> str:
        return str(self.path)

    def names(self) -> list[str]:
        """Of its files, sorted."""
        return sorted(path.name for path in self.path.iterdir())

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).exists()

    def get(self, name: str) -> Path:
        """The file."""
        return self.path / name

    def gather(self, *names: str) -> Path:
        """Itself."""
        return self.path

    def record(self) -> dict[str, str]:
        """Nothing: whoever exports it names it."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Weights and what lies beside them. Tensors are read when they are asked for."""

    path: Path
    tensors: Mapping[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)  # config.json
    processor: dict[str, Any] = field(default_factory=dict)  # preprocessor_config.json
    metadata: dict[str, str] = field(default_factory=dict)  # of a safetensors file
    frames: int = 1  # of a film that a patch of the model is to hold; ``processor`` is then that of videos
    folder: Folder | None = None  # that it was read from; none if it is a file

    def count_elements(self) -> int:
        """Of all tensors together."""
        tensors = self.tensors
        while isinstance(tensors, Renamed):
            tensors = tensors.tensors
        if isinstance(tensors, _Counting):
            return tensors.count_elements()
        return sum(tensor.numel() for tensor in tensors.values())


@runtime_checkable
class _Counting(Protocol):
    def count_elements(self) -> int:
        """Of all tensors together, of which none is read."""


class Renamed(Mapping[str, Tensor]):
    """The same tensors by other names, read when they are asked for."""

    def __init__(self, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
        """names: new name -> name in ``tensors``."""
        self.tensors = tensors
        self._names = names

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[self._names[name]]

    def outline(self, name: str) -> Tensor:
        """A tensor of its shape without numbers."""
        return outline(self.tensors, self._names[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def outline(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """A tensor of the shape of one of ``tensors``, without numbers: nothing is read of a file that says its shapes."""
    if isinstance(tensors, (Renamed, SafetensorsFile, Shards)):
        return tensors.outline(name)
    return torch.empty_like(tensors[name], device="meta")


def without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    """Without what all names begin with; the same if not all do."""
    if not all(name.startswith(prefix) for name in tensors):
        return tensors
    return Renamed(tensors, {name.removeprefix(prefix): name for name in tensors})


class SafetensorsFile(Mapping[str, Tensor]):
    """The tensors of one file. It is mapped anew for each, so that what was read does not stay in memory."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidInputError if it is missing or no safetensors file."""
        self._path = path
        with self._open() as handle:
            names: list[str] = handle.keys()
            slices = {name: handle.get_slice(name) for name in names}
            self._outlines = {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
            self.metadata: dict[str, str] = handle.metadata() or {}

    def outline(self, name: str) -> Tensor:
        """A tensor of its shape without numbers; of floats, if it holds floats of any kind."""
        dtype, shape = self._outlines[name]
        return torch.empty(shape, dtype=_INTEGERS.get(dtype, torch.float32), device="meta")

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._outlines:
            raise KeyError(name)
        with self._open() as handle:
            tensor: Tensor = handle.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._outlines)

    def __len__(self) -> int:
        return len(self._outlines)

    def count_elements(self) -> int:
        """Of all tensors together, of which none is read."""
        return sum(math.prod(shape) for _, shape in self._outlines.values())

    def _open(self) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(self._path, framework="pt")
        except (OSError, SafetensorError) as error:
            raise InvalidInputError(
                f"cannot read the checkpoint {self._path}: {error}; expected a .safetensors file (pickle is never run)"
            ) from error


class Shards(Mapping[str, Tensor]):
    """The tensors that an index names. A shard is opened, and on the Hub downloaded, when a tensor of it is read."""

    def __init__(self, index: Path, places: Mapping[str, str], total_bytes: int | None, folder: Folder) -> None:
        """places: tensor -> name of the shard's file in ``folder``."""
        self._index, self._places, self._total_bytes, self._folder = index, places, total_bytes, folder
        self._opened: dict[str, SafetensorsFile] = {}

    def __getitem__(self, name: str) -> Tensor:
        return self._shard_of(name)[name]

    def outline(self, name: str) -> Tensor:
        """A tensor of its shape without numbers."""
        return self._shard_of(name).outline(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def count_elements(self) -> int:
        """Of all tensors together; at most, if the index says only their bytes."""
        if self._total_bytes is not None:
            return self._total_bytes
        return sum(self._shard(shard).count_elements() for shard in set(self._places.values()))

    def _shard_of(self, name: str) -> SafetensorsFile:
        shard = self._shard(self._places[name])
        if name not in shard:
            raise InvalidInputError(
                f"{self._index} says that {name} lies in {self._places[name]}, which does not hold it; expected the "
                "shards that the index was written with; download both again"
            )
        return shard

    def _shard(self, name: str) -> SafetensorsFile:
        if name not in self._opened:
            self._opened[name] = SafetensorsFile(self._folder.get(name))
        return self._opened[name]


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
    folder: Folder | None = None
    settings = ReadFields({}, where="")
    fields: dict[str, Any] = {}
    if path.is_dir() or is_hub_name(path):
        folder = open_hub_folder(path) if is_hub_name(path) else LocalFolder(path)
        tensors = _read_folder(folder)
        if folder.has("config.json"):
            fields = _read_json(folder.get("config.json"))
        settings = _read_processor(folder, "image_processor" if frames == 1 else "video_processor")
    elif path.suffix == ".safetensors":
        tensors = SafetensorsFile(path)
    else:
        tensors = _read_torch(path)
    metadata = tensors.metadata if isinstance(tensors, SafetensorsFile) else {}
    if config is not None:
        fields = _read_json(config)
    for wrapper in _WRAPPING:
        tensors = without_prefix(tensors, wrapper)
    given = dict(processor or {})
    where = {name: settings.where(name) for name in settings} | dict.fromkeys(given, GIVEN)
    return Checkpoint(
        path=path,
        tensors=tensors,
        config=ReadFields(fields, where="config.json" if config is None else config.name),
        processor=ReadFields({**settings, **given}, where=where),
        metadata=metadata,
        frames=frames,
        folder=folder,
    )


def _read_processor(folder: Folder, part: str) -> ReadFields:
    """As transformers 5 reads it: ``image_processor`` of processor_config.json in place of preprocessor_config.json.

    What else processor_config.json says is of the processor around it, and counts if nothing else says it. part:
    "image_processor", or "video_processor", whose own file is video_preprocessor_config.json; without it an older model
    has both in preprocessor_config.json.
    """
    own = PROCESSOR_FILES[1]
    if part == "video_processor" and folder.has(f"video_{own}"):
        own = f"video_{own}"
    outer, inner = (_read_json(folder.get(name)) if folder.has(name) else {} for name in (PROCESSOR_FILES[0], own))
    nested = outer.pop(part, None)
    for other in ("image_processor", "video_processor"):
        outer.pop(other, None)
    if nested is not None and not isinstance(nested, dict):
        raise InvalidInputError(f"{folder.get(PROCESSOR_FILES[0])}: {part} is {nested!r}; expected an object of fields")
    name = own if nested is None else f"processor_config.json, {part}"
    first = inner if nested is None else nested
    if isinstance(released := first.get("media_proc_cfg"), dict):  # Kimi K2.5
        first = {**first, **released}
        del first["media_proc_cfg"]
    where = {key: name if key in first else "processor_config.json" for key in {**outer, **first}}
    return ReadFields({**outer, **first}, where=where)


def _read_folder(folder: Folder) -> Mapping[str, Tensor]:
    """The files that transformers takes, in its order: a whole file goes before an index, which may be older."""
    if folder.has("model.safetensors"):
        return SafetensorsFile(folder.get("model.safetensors"))
    if folder.has("model.safetensors.index.json"):
        return _read_shards(folder, "model.safetensors.index.json")
    names = folder.names()
    indices = [name for name in names if name.endswith(".safetensors.index.json")]
    sharded = {shard for index in indices for shard in _places(folder, index).values()}
    whole = [name for name in names if name.endswith(".safetensors") and name not in sharded]
    if len(whole) + len(indices) == 1:
        return SafetensorsFile(folder.get(whole[0])) if whole else _read_shards(folder, indices[0])
    if whole or indices:
        raise InvalidInputError(
            f"{folder} holds several checkpoints ({', '.join([*whole, *indices][:5])}); name the file of one of them"
        )
    if isinstance(folder, LocalFolder):
        for index in (name for name in names if name.endswith(".bin.index.json")):
            tensors: dict[str, Tensor] = {}
            for shard in sorted(set(_places(folder, index).values())):
                tensors |= _read_torch(folder.get(shard))
            return tensors
        if folder.has("pytorch_model.bin"):
            return _read_torch(folder.get("pytorch_model.bin"))
    elif any(name.endswith((".bin", ".pt", ".pth", ".ckpt")) for name in names):
        raise InvalidInputError(
            f"{folder} holds no safetensors, only files of pickle, which are never downloaded; expected a revision "
            "with safetensors; name one with @REVISION (conversions are often at @refs/convert/safetensors or "
            "@refs/pr/1), or download it yourself and save its state_dict as safetensors"
        )
    raise InvalidInputError(f"{folder} holds no weights; {_FOLDER}")


def _read_shards(folder: Folder, index: str) -> Shards:
    places = _places(folder, index)
    described = _read_json(folder.get(index)).get("metadata")
    total = described.get("total_size") if isinstance(described, dict) else None
    whole = isinstance(folder, LocalFolder) and all(folder.has(shard) for shard in places.values())
    known = isinstance(total, int) and not isinstance(total, bool)
    return Shards(folder.get(index), places, total if known and not whole else None, folder)


def _places(folder: Folder, index: str) -> dict[str, str]:
    """Tensor -> file, as an index says it."""
    found = _read_json(folder.get(index)).get("weight_map")
    names = list(found.values()) if isinstance(found, dict) else []
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise InvalidInputError(f"{folder.get(index)} names no shards in its folder under weight_map; {_FOLDER}")
    return {str(tensor): str(name) for tensor, name in found.items()} if isinstance(found, dict) else {}


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

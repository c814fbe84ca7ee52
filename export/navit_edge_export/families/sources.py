"""Where each field of the preprocessing came from, and which fields of a checkpoint's files nobody asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from navit_edge_export.families.checkpoint import Checkpoint

#: Of what the caller says and no file.
GIVEN = "given"
#: Field of the preprocessing -> keys that it is read from; those of a processor, then those of timm's pretrained_cfg.
_KEYS = {
    "mean": ("image_mean", "mean"),
    "std": ("image_std", "std"),
    "filter": ("resample", "interpolation"),
    "alpha": ("do_convert_rgb",),
}
#: Fields whose source is found. ``sizing`` is read from all keys but these.
FIELDS = ("sizing", "filter", "mean", "std", "alpha", "orientation")
#: Read to refuse what no importer represents, or to know whose processor it is; they say nothing of the size.
_CHECKED = frozenset(
    {"do_rescale", "do_resize", "do_normalize", "rescale_factor"}
    | {"image_processor_type", "feature_extractor_type", "auto_map", "patch_size", "temporal_patch_size"}
)
#: Without meaning for the numbers of an image's forward pass: what transformers stores with every config and processor,
#: and what only training, text, videos and the library itself read.
IDLE = frozenset(
    (
        "_attn_implementation", "_name_or_path", "_commit_hash", "architectures", "attn_implementation",
        "attention_dropout", "attention_probs_dropout_prob", "auto_map", "chunk_size_feed_forward",
        "classifier_dropout", "layerscale_value",
        "data_format", "default_to_square", "device", "disable_grouping", "do_convert_rgb", "drop_path_rate", "dropout",
        "dtype", "gradient_checkpointing", "hidden_dropout", "hidden_dropout_prob", "id2label", "image_processor_type",
        "image_seq_length", "initializer_factor", "initializer_range", "input_data_format", "is_encoder_decoder",
        "label2id", "model_type", "num_labels", "output_attentions", "output_hidden_states", "pad_token_id",
        "problem_type", "processor_class", "projector_dropout", "return_dict", "return_tensors", "tie_word_embeddings",
        "torch_dtype", "torchscript", "transformers_version", "use_bfloat16", "use_cache", "use_mask_token",
        "mask_token", "num_frames", "out_features", "out_indices", "apply_layernorm", "reshape_hidden_states",
        "pos_emb_time", "pos_embed_jitter", "pos_embed_rescale", "pos_embed_shift", "tokens_per_second",
        "stage_names", "label_descriptions", "label_names", "license", "paper_ids", "hf_hub_id", "hf_hub_filename",
    )
)  # fmt: skip
#: The same, of processors alone: how images are made one array, and frames of a video.
_IDLE_OF_PROCESSORS = frozenset({"do_pad", "temporal_patch_size"})


class ReadFields(dict[str, Any]):
    """Fields of a file that know which of them were asked for. Listing all of them is not asking."""

    def __init__(self, values: Mapping[str, Any], *, where: str | Mapping[str, str]) -> None:
        """``where`` they stand, all of them or each, for people."""
        super().__init__()
        self._where = where
        self.asked: set[str] = set()
        for name, value in values.items():
            inner = f"{self.where(name)}, {name}"
            super().__setitem__(name, ReadFields(value, where=inner) if isinstance(value, dict) else value)

    def where(self, name: str) -> str:
        """The file that a field stands in."""
        return self._where if isinstance(self._where, str) else self._where.get(name, "")

    def get(self, name: str, default: Any = None) -> Any:
        """As a dict's."""
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self.asked.add(str(name))
        return super().__contains__(name)

    def read(self) -> list[str]:
        """Fields that were asked for and have a value."""
        return [name for name, value in self.items() if name in self.asked and value is not None]

    def unread(self) -> list[str]:
        """Fields that nobody asked for and that may mean something."""
        return [name for name, value in self.items() if name not in self.asked | IDLE and value is not None]


def sources_of(checkpoint: Checkpoint, family: str) -> dict[str, str]:
    """Field of the preprocessing -> the file and the keys that say it, or that it is the family's default. Call it when
    config and preprocessing are read."""
    files = [checkpoint.processor]
    if isinstance(checkpoint.config, ReadFields):
        files.append(dict.get(checkpoint.config, "pretrained_cfg") or {})
    known = {key for keys in _KEYS.values() for key in keys} | _CHECKED
    found: dict[str, str] = {}
    for field in FIELDS:
        for values in files:
            if not isinstance(values, ReadFields):
                continue
            wanted = _KEYS.get(field)
            if field in ("mean", "std") and dict.get(values, "do_normalize") is False:
                wanted = ("do_normalize",)
            names = [
                name
                for name in values.read()
                if (name in wanted if wanted else field == "sizing" and name not in known)
            ]
            if names:
                found.setdefault(field, _named(values, names))
        found.setdefault(field, f"default of the family {family}")
    return found


def _named(values: ReadFields, names: Iterable[str]) -> str:
    """ "preprocessor_config.json: size, merge_size" """
    by_file: dict[str, list[str]] = {}
    for name in names:
        by_file.setdefault(values.where(name), []).append(name)
    return "; ".join(f"{file}: {', '.join(keys)}" if file else ", ".join(keys) for file, keys in by_file.items())


def unread_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """For each file with fields that nobody asked for: which ones. Of a whole model's config, the vision part."""
    config = checkpoint.config
    beside = [
        name
        for name in ("preprocessor_config.json", "processor_config.json")
        if checkpoint.path.is_file() and (checkpoint.path.parent / name).is_file()
    ]
    if beside:
        alone = f"not read: {', '.join(beside)} beside {checkpoint.path.name}; give the folder to have it read"
        return (alone, *_unread(config, checkpoint.processor))
    return _unread(config, checkpoint.processor)


def _unread(config: Mapping[str, Any], processor: Mapping[str, Any]) -> tuple[str, ...]:
    inner = dict.get(config, "vision_config") if isinstance(config, ReadFields) else None
    files = [inner if isinstance(inner, ReadFields) else config, processor]
    return tuple(
        f"not used: {_named(values, names)}"
        for values in files
        if isinstance(values, ReadFields)
        and (names := [name for name in values.unread() if values is not processor or name not in _IDLE_OF_PROCESSORS])
    )

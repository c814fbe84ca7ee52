"""Texts into the space of a bundle's image embeddings, by its text tower (docs/zero-shot.md)."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from navit_edge.bundle import hashing
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.manifest import Manifest, TextTower
from navit_edge.errors import BackendError, BundleError, InvalidInputError, import_or_explain
from navit_edge.machine.cores import usable_cores
from navit_edge.options import checked_int
from navit_edge.result import sigmoid
from navit_edge.text import shown

Array = npt.NDArray[np.float32]

_PURPOSE = "encoding texts"
_REMEDY = 'pip install "navit-edge[openvino,text]"'
_INPUTS = ("input_ids", "attention_mask")
_OUTPUT = "embedding"
#: Gemma's tokenizer.json, of 256,000 tokens, has 34 MB.
_MOST_TOKENIZER_BYTES = 512 << 20
#: Texts of one pass: more take memory and no less time each.
_BATCH = 32
#: Of a text, in messages.
_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class TokenizedTexts:
    """ids, mask: int32 [N, tokens]; the mask is 0 where a text was padded. cut: indices of the texts that were longer,
    of which the rest was left out."""

    ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.int32]
    cut: tuple[int, ...]


class TextEncoder:
    """The text tower of a bundle that ``navit-edge export --text`` made. Thread-safe.

    bundle: the ``.navit`` directory. It needs no engine: OpenVINO compiles the graph on the CPU, in float32.
    threads: CPU threads, 1 to 1024; 0 takes every core that this process can keep busy.

    Raises BundleError if the bundle has no text tower or was altered, MissingPackageError without the packages
    openvino and tokenizers, BackendError if OpenVINO does not take the graph.
    """

    def __init__(self, bundle: str | os.PathLike[str], *, threads: int = 0) -> None:
        path = Path(bundle)
        count = checked_int("threads", threads)
        if not 0 <= count <= 1024:
            raise InvalidInputError(f"threads is {count}; expected 1 to 1024, or 0 for every core")
        manifest = manifests.load(path)
        self._tower = _tower_of(path, manifest)
        self._tokenizer = _open_tokenizer(path, manifest, self._tower)
        self._compiled = _compile(path, manifest, self._tower, count or usable_cores())

    @property
    def tokens(self) -> int:
        """Of every text: shorter ones are padded, longer ones cut."""
        return int(self._tower.inputs[0].shape[1])

    @property
    def width(self) -> int:
        """D of an embedding."""
        return int(self._tower.outputs[0].shape[1])

    @property
    def logit_scale(self) -> float:
        """The factor of a cosine in a logit."""
        return self._tower.logit_scale

    @property
    def logit_bias(self) -> float:
        """What is added to it."""
        return self._tower.logit_bias

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """The ids of each text, as the model's own processor gives them: lower case, padded, cut at the end.

        Raises InvalidInputError: no texts, or what is none.
        """
        return _tokenized(self._tokenizer, texts)

    def embed(self, texts: Sequence[str]) -> Array:
        """One embedding a text, float32 [N, D], of length 1; a RuntimeWarning names texts that were cut.

        Raises InvalidInputError: no texts, or what is none.
        """
        tokenized = self.tokenize(texts)
        if note := self.cut_note(texts, tokenized):
            warnings.warn(note, RuntimeWarning, stacklevel=2)
        return self.embed_tokens(tokenized)

    def embed_tokens(self, tokenized: TokenizedTexts) -> Array:
        """The same, of ids: float32 [N, D], of length 1. Raises InvalidInputError, BackendError."""
        for name, values in zip(_INPUTS, (tokenized.ids, tokenized.mask), strict=True):
            if values.ndim != 2 or values.shape[1] != self.tokens or not len(values):
                raise InvalidInputError(f"{name} have the shape {list(values.shape)}; expected [texts, {self.tokens}]")
        request = self._compiled.create_infer_request()
        parts = []
        for start in range(0, len(tokenized.ids), _BATCH):
            piece = slice(start, start + _BATCH)
            given = {"input_ids": tokenized.ids[piece], "attention_mask": tokenized.mask[piece]}
            try:
                outputs = request.infer({spec.name: given[spec.name] for spec in self._tower.inputs})
            except RuntimeError as error:
                raise BackendError(f"OpenVINO cannot run the text graph: {error}") from error
            parts.append(np.array(outputs[0], np.float32))
        return unit(np.concatenate(parts), "text embeddings")

    def cut_note(self, texts: Sequence[str], tokenized: TokenizedTexts) -> str:
        """Which texts were cut; "" if none was."""
        if not tokenized.cut:
            return ""
        first = texts[tokenized.cut[0]]
        named = shown(first if len(first) <= _SHOWN else f"{first[: _SHOWN - 1]}…")
        more = f" and {len(tokenized.cut) - 1} more" if len(tokenized.cut) > 1 else ""
        return f"text {tokenized.cut[0]} ({named}){more} has more than {self.tokens} tokens; the rest of it is left out"

    def logits(self, image_embeddings: npt.ArrayLike, text_embeddings: npt.ArrayLike) -> Array:
        """[images, D] and [texts, D], of any length -> [images, texts]: logit_scale * cosine + logit_bias."""
        images = unit(self._embeddings(image_embeddings, "image_embeddings"), "image_embeddings")
        texts = unit(self._embeddings(text_embeddings, "text_embeddings"), "text_embeddings")
        logits: Array = images @ texts.T * np.float32(self.logit_scale) + np.float32(self.logit_bias)
        return logits

    def scores(self, image_embeddings: npt.ArrayLike, text_embeddings: npt.ArrayLike) -> Array:
        """[images, D] and [texts, D] -> [images, texts]: the probability, by itself, that a text goes with an image.

        image_embeddings: ``result.embedding`` of a session of the same bundle, one or several.
        text_embeddings: what ``embed`` gives.

        Those of one image do not add up to 1: several texts may fit, or none. Raises InvalidInputError.
        """
        return sigmoid(self.logits(image_embeddings, text_embeddings))

    def _embeddings(self, given: npt.ArrayLike, name: str) -> Array:
        try:
            values = np.atleast_2d(np.asarray(given, np.float32))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"{name} are no numbers ({error}); expected an array [N, {self.width}]") from None
        if values.ndim != 2 or values.shape[1] != self.width or not len(values):
            raise InvalidInputError(f"{name} have the shape {list(values.shape)}; expected [N, {self.width}]")
        return values


def tokenize(bundle: Path, manifest: Manifest, texts: Sequence[str]) -> TokenizedTexts:
    """As an encoder of the bundle does it; the tower is not opened. Raises as ``TextEncoder`` and its ``tokenize``."""
    return _tokenized(_open_tokenizer(bundle, manifest, _tower_of(bundle, manifest)), texts)


def _tokenized(tokenizer: Any, texts: Sequence[str]) -> TokenizedTexts:
    encodings = tokenizer.encode_batch(_checked(texts))
    return TokenizedTexts(
        ids=np.array([one.ids for one in encodings], np.int32),
        mask=np.array([one.attention_mask for one in encodings], np.int32),
        cut=tuple(index for index, one in enumerate(encodings) if one.overflowing),
    )


def unit(values: Array, name: str) -> Array:
    """[N, D], each divided by its length. Raises InvalidInputError if one has none."""
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if wrong.size:
        raise InvalidInputError(
            f"row {wrong[0]} of {name} has the length {float(lengths[wrong[0], 0])}; expected one above 0"
        )
    found: Array = values / lengths
    return found


def _tower_of(bundle: Path, manifest: Manifest) -> TextTower:
    """Checked: a graph of texts that this version can feed."""
    tower = manifest.text
    if not isinstance(tower, TextTower):
        raise BundleError(
            f"{bundle} has no text tower; expected a bundle of a family with texts, as siglip2, exported with --text; "
            "export it again: navit-edge export --checkpoint FOLDER --text -o NAME.navit"
        )
    names = tuple(spec.name for spec in tower.inputs)
    shapes = {spec.shape for spec in tower.inputs}
    extents = next(iter(shapes))[1:] if len(shapes) == 1 else ()
    fits = (
        names in (_INPUTS, _INPUTS[:1])
        and all(spec.dtype == "int32" for spec in tower.inputs)
        and len(extents) == 1
        and isinstance(extents[0], int)
        and [(spec.name, spec.dtype, len(spec.shape)) for spec in tower.outputs] == [(_OUTPUT, "float32", 2)]
        and isinstance(tower.outputs[0].shape[1], int)
    )
    if not fits:
        raise BundleError(
            f"the text graph of {bundle} has the inputs {', '.join(names)} and outputs that this version cannot use; "
            "expected input_ids [N, tokens], attention_mask or not, and embedding [N, D]; export the model again"
        )
    return tower


def _open_tokenizer(bundle: Path, manifest: Manifest, tower: TextTower) -> Any:
    tokenizers = import_or_explain("tokenizers", purpose=_PURPOSE, remedy=_REMEDY)
    content = hashing.read_file(bundle, manifest, tower.tokenizer, most_bytes=_MOST_TOKENIZER_BYTES)
    try:
        tokenizer = tokenizers.Tokenizer.from_str(content.decode())
    except Exception as error:  # of the library: an Exception as such; or no UTF-8
        raise BundleError(f"{bundle / tower.tokenizer} is no tokenizer: {error}; export the model again") from error
    tokens = tower.inputs[0].shape[1]
    given = {
        (setting or {}).get(key)
        for setting, key in ((tokenizer.truncation, "max_length"), (tokenizer.padding, "length"))
    }
    if given != {tokens}:
        raise BundleError(
            f"{bundle / tower.tokenizer} does not pad and cut texts to the {tokens} tokens of the text graph; "
            "export the model again"
        )
    return tokenizer


def _compile(bundle: Path, manifest: Manifest, tower: TextTower, threads: int) -> Any:
    """The graph in OpenVINO, compiled from checked copies of its files."""
    openvino = import_or_explain("openvino", purpose=_PURPOSE, remedy=_REMEDY)
    folder = tower.file.rpartition("/")[0]
    wanted = {
        name: file
        for name, file in manifest.files.items()
        if name == tower.file or (name.rpartition("/")[0] == folder and name.endswith(".bin"))
    }
    with hashing.snapshot(bundle, wanted) as copies:
        try:
            core = openvino.Core()
            model = core.read_model(copies / tower.file)
            hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
            return core.compile_model(model, "CPU", hints)
        except RuntimeError as error:
            raise BackendError(f"OpenVINO cannot compile {bundle / tower.file}: {error}") from error


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Sequence):
        raise InvalidInputError(f"texts is a {type(texts).__name__}; expected a list of texts: [text]")
    if not len(texts):
        raise InvalidInputError("texts is empty; expected at least one text; skip the call if there is none")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(f"text {index} is a {type(text).__name__}; expected text")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InvalidInputError(
                f"text {index} ({shown(text[:_SHOWN])}) holds half of a surrogate pair; expected text that is UTF-8"
            ) from None
    return list(texts)

"""Classes that are texts: a classifier made of a text tower and names, for the image embeddings of the same bundle.

``navit-edge run --classes`` and ``export --classes`` use it (docs/zero-shot.md).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy.typing as npt

from navit_edge import files
from navit_edge.errors import InvalidInputError
from navit_edge.options import whole
from navit_edge.result import Prediction, predictions
from navit_edge.text import shown
from navit_edge.text_encoder import Array, TextEncoder, unit

if TYPE_CHECKING:
    from navit_edge._core import Result

#: What transformers' zero-shot pipeline puts a name into, and what SigLIP2's card recommends.
TEMPLATES = ("This is a photo of {}.",)
_GAP = "{}"
_SUFFIXES = (".txt", ".csv", ".list", ".names", ".json")


class ZeroShotClassifier:
    """Scores image embeddings against named classes. Thread-safe.

    encoder: of the bundle that the image embeddings come from.
    classes: names, such as "a cat"; each once.
    templates: sentences with ``{}`` where a name goes; with several, a class is the mean of its sentences' embeddings.

    Raises InvalidInputError, and warns (RuntimeWarning) of sentences that the encoder cuts.
    """

    def __init__(self, encoder: TextEncoder, classes: Sequence[str], *, templates: Sequence[str] = TEMPLATES) -> None:
        self._encoder = encoder
        self._classes = checked_classes(classes)
        sentences = sentences_of(self._classes, templates)
        self._embeddings = class_embeddings(encoder.embed(sentences), len(self._classes))
        self._embeddings.flags.writeable = False

    @property
    def classes(self) -> tuple[str, ...]:
        """The names, as given."""
        return self._classes

    @property
    def embeddings(self) -> Array:
        """Of the classes: float32 [classes, D], of length 1, read-only."""
        return self._embeddings

    def logits(self, image_embeddings: npt.ArrayLike) -> Array:
        """[images, D], or [D] of one -> [images, classes]: logit_scale * cosine + logit_bias of the checkpoint."""
        return self._encoder.logits(image_embeddings, self._embeddings)

    def top_k(self, result: Result, k: int = 5) -> list[Prediction]:
        """The ``k`` likeliest classes of an image, best first. ``score``: the probability that the class fits, each by
        itself (the sigmoid of the logit): those of an image do not add up to 1.

        Raises InvalidInputError if the result has no embedding.
        """
        count = whole("k", k, "how many classes, 1 and up")
        if count < 1:
            raise InvalidInputError(f"k is {k!r}; expected how many classes, 1 and up")
        if result.embedding is None:
            if result.error is not None:
                raise InvalidInputError(f"the image failed and has no classes: {result.error}") from result.error
            raise InvalidInputError(
                "the result has no embedding to compare with texts; export the bundle with --outputs embedding"
            )
        return predictions(self.logits(result.embedding)[0], self._classes, count, scores="sigmoid")


def parse_classes(given: str) -> tuple[str, ...]:
    """Names of an argument: a file with one a line, or a list "a cat, a dog". Raises InvalidInputError."""
    if os.path.isfile(given):
        text = files.read_text(Path(given), expected="names of classes, one per line").removeprefix("\ufeff")
        names = [line.strip() for line in text.replace("\r\n", "\n").split("\n")]
        return checked_classes([name for name in names if name])
    if "," not in given and (os.sep in given or given.lower().endswith(_SUFFIXES)):
        raise InvalidInputError(
            f"there is no file {shown(given)}; expected a file of names, one per line, or a list: 'a cat, a dog'"
        )
    return checked_classes([name.strip() for name in given.split(",")])


def checked_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Names, each once. Raises InvalidInputError."""
    if isinstance(classes, (str, bytes)) or not isinstance(classes, Sequence):
        raise InvalidInputError(f"classes is a {type(classes).__name__}; expected a list of names: ['a cat', 'a dog']")
    if not len(classes):
        raise InvalidInputError("there are no classes; expected at least one name, as 'a cat'")
    seen: dict[str, int] = {}
    for place, name in enumerate(classes):
        if not isinstance(name, str):
            raise InvalidInputError(f"class {place} is a {type(name).__name__}; expected a name, as 'a cat'")
        if not name.strip():
            raise InvalidInputError(f"class {place} is empty; expected a name, as 'a cat'; look for a comma too many")
        if seen.setdefault(name, place) != place:
            raise InvalidInputError(f"class {place} is {shown(name)}, as class {seen[name]} is; give each name once")
    return tuple(classes)


def sentences_of(classes: Sequence[str], templates: Sequence[str]) -> list[str]:
    """[classes * templates]: of each class all sentences, one class after the other. Raises InvalidInputError."""
    if isinstance(templates, str) or not len(templates):
        raise InvalidInputError(f"templates are {templates!r}; expected a list of sentences, as {list(TEMPLATES)}")
    for template in templates:
        if not isinstance(template, str) or template.count(_GAP) != 1:
            raise InvalidInputError(
                f"the template {shown(str(template))} has not one {{}}; expected it where the name goes, as in "
                f"{TEMPLATES[0]!r}"
            )
    return [template.replace(_GAP, name) for name in classes for template in templates]


def class_embeddings(sentences: Array, classes: int) -> Array:
    """[classes * templates, D], of length 1 -> [classes, D]: the direction of each mean, of length 1."""
    if len(sentences) == classes:
        return sentences
    return unit(sentences.reshape(classes, -1, sentences.shape[1]).mean(axis=1), "the means of sentences")

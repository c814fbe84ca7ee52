"""Classes by their names, against transformers' Siglip2Model: ``run --classes``, ``export --classes``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow.parquet
import pytest
import torch
import transformers
from command_line import invoke, words
from engines import build_openvino
from parity import TOLERANCE, check_parity
from siglip2_folder import TOKENS, WIDTH, make_folder

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.errors import InvalidInputError
from navit_edge.zero_shot import parse_classes
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.text.head import fold_classes

CLASSES = ("a cat", "two dogs", "a red car, at night")
TEMPLATE = "This is a photo of {}."
SIZES = ((50, 70), (64, 64), (30, 120))


@pytest.fixture(scope="module")
def folder(siglip2_bundle: Path) -> Path:
    return siglip2_bundle.parent / "folder"


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return transformers.Siglip2Model.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    rng = np.random.default_rng(3)
    place = tmp_path_factory.mktemp("images")
    paths = [place / f"{n}.png" for n in range(len(SIZES))]
    for path, size in zip(paths, SIZES, strict=True):
        PIL.Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(path)
    return paths


@pytest.fixture(scope="module")
def names_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / "names.txt"
    path.write_bytes("\ufeff{}\r\n{}\r\n\r\n{}".format(*CLASSES).encode())
    return path


@pytest.fixture(scope="module")
def folded(folder: Path, names_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose classes are the names, with an engine."""
    bundle = tmp_path_factory.mktemp("folded") / "folded.navit"
    options = ("--classes", names_file, "--lowerings", "padded", "--processor", "pillow")
    result = invoke("export", "--checkpoint", folder, *options, "-o", bundle)
    assert result.exit_code == 0, result.stderr
    build_openvino(bundle)
    return bundle


def logits_of(theirs: Any, folder: Path, images: Sequence[Path], texts: Sequence[str]) -> torch.Tensor:
    """[images, texts], by transformers alone."""
    processor = transformers.Siglip2Processor(
        transformers.Siglip2ImageProcessorPil.from_pretrained(folder),
        transformers.AutoProcessor.from_pretrained(folder).tokenizer,
    )
    opened = [PIL.Image.open(path) for path in images]
    inputs = processor(text=list(texts), images=opened, return_tensors="pt", max_num_patches=64, patch_size=8)
    with torch.no_grad():
        logits: torch.Tensor = theirs(**inputs).logits_per_image
    return logits


def rows_of(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def check_rows(rows: Sequence[dict[str, Any]], logits: torch.Tensor, classes: Sequence[str]) -> None:
    """Of ``run --json``: all classes, the likeliest first, with the probabilities of ``logits``."""
    assert len(rows) == len(logits)
    largest = logits.abs().max().item()
    for row, expected in zip(rows, logits, strict=True):
        found = {one["label"]: one for one in row["top_k"]}
        assert set(found) == set(classes)
        for name, logit in zip(classes, expected, strict=True):
            assert abs(found[name]["logit"] - logit.item()) <= TOLERANCE * largest
            assert abs(found[name]["score"] - logit.sigmoid().item()) <= TOLERANCE
        scores = [one["score"] for one in row["top_k"]]
        assert scores == sorted(scores, reverse=True)


def test_run_scores_images_against_names_as_siglip2_model_does(
    siglip2_bundle: Path, theirs: Any, folder: Path, images: list[Path], names_file: Path
) -> None:
    expected = logits_of(theirs, folder, images, [TEMPLATE.format(name) for name in CLASSES])
    assert np.ptp(expected.sigmoid().numpy()) > 0.01  # so they tell the classes apart
    result = invoke("run", siglip2_bundle, *images, "--classes", names_file, "--json")
    assert result.exit_code == 0, result.stderr
    check_rows(rows_of(result.stdout), expected, CLASSES)


def test_names_may_be_a_list_and_the_template_another(
    siglip2_bundle: Path, theirs: Any, folder: Path, images: list[Path]
) -> None:
    expected = logits_of(theirs, folder, images, ["a cat", "night"])
    options = ("--classes", " a cat ,night", "--template", "{}", "--json")
    result = invoke("run", siglip2_bundle, *images, *options)
    assert result.exit_code == 0, result.stderr
    check_rows(rows_of(result.stdout), expected, ("a cat", "night"))


def test_several_templates_are_the_mean_of_their_embeddings(
    siglip2_bundle: Path, theirs: Any, folder: Path, images: list[Path]
) -> None:
    templates = (TEMPLATE, "{}", "a drawing of {}, at night")
    tokenizer = transformers.AutoProcessor.from_pretrained(folder)
    directions = []
    with torch.no_grad():
        for name in CLASSES[:2]:
            inputs = tokenizer(text=[one.format(name) for one in templates], return_tensors="pt")
            features = theirs.text_model(**inputs).pooler_output
            directions.append(torch.nn.functional.normalize(features, dim=1).mean(dim=0))
    unit = torch.nn.functional.normalize(torch.stack(directions), dim=1)
    classifier = ne.ZeroShotClassifier(ne.TextEncoder(siglip2_bundle, threads=1), CLASSES[:2], templates=templates)
    assert classifier.classes == CLASSES[:2]
    np.testing.assert_allclose(classifier.embeddings, unit.numpy(), atol=TOLERANCE)
    with ne.Session(siglip2_bundle, threads=1) as session:
        result = session.run(images)[0]
    cosines = torch.from_numpy(np.array(result.embedding)) @ unit.T / float(np.linalg.norm(result.embedding))
    expected = cosines * theirs.logit_scale.exp().item() + theirs.logit_bias.item()
    np.testing.assert_allclose(classifier.logits(result.embedding)[0], expected, atol=1e-4)
    best = classifier.top_k(result, 1)
    assert [(one.index, one.label) for one in best] == [(int(expected.argmax()), CLASSES[int(expected.argmax())])]
    assert best[0].score == pytest.approx(expected.max().sigmoid().item(), abs=TOLERANCE)


def test_the_table_and_the_page_show_the_names(siglip2_bundle: Path, images: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    result = invoke("run", siglip2_bundle, *images, "--classes", "a cat, a <b>dog", "--top-k", 1, "--html", page)
    assert result.exit_code == 0, result.stderr
    assert sum(result.stdout.count(f"{name} ") for name in ("a cat", "a <b>dog")) == len(images)
    assert "embedding" not in result.stdout
    text = page.read_text()
    assert text.count("<span>a cat</span>") + text.count("<span>a &lt;b&gt;dog</span>") == len(images)


def test_parquet_has_the_names(siglip2_bundle: Path, images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "results.parquet"
    result = invoke("run", siglip2_bundle, *images, "--classes", "a cat, a dog", "-o", out)
    assert result.exit_code == 0, result.stderr
    rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [{one["label"] for one in row["top_k"]} for row in rows] == [{"a cat", "a dog"}] * len(images)


def test_a_job_goes_on_with_the_same_names_only(siglip2_bundle: Path, images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "results.jsonl"
    first = ("run", siglip2_bundle, images[0], "--classes", "a cat, a dog", "-o", out)
    assert invoke(*first).exit_code == 0
    assert invoke(*first, "--resume").exit_code == 0
    other = invoke("run", siglip2_bundle, images[0], "--classes", "a cat, a bird", "-o", out, "--resume")
    assert other.exit_code == 1
    assert "classes" in other.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--classes", "a cat,, a dog"), "class 1 is empty; .* look for a comma too many"),
        (("--classes", "a cat, a cat"), "class 1 is a cat, as class 0 is"),
        (("--classes", "no/such/names.txt"), "there is no file no/such/names.txt"),
        (("--classes", "names.txt"), "there is no file names.txt"),
        (("--classes", ""), "class 0 is empty"),
        (("--classes", "a cat", "--template", "a photo"), r"the template a photo has not one \{\}"),
        (("--template", "{}"), "it goes with --classes"),
    ],
)
def test_names_that_cannot_be_classes_are_a_usage_error(
    siglip2_bundle: Path, images: list[Path], options: tuple[str, ...], message: str
) -> None:
    result = invoke("run", siglip2_bundle, images[0], *options)
    assert result.exit_code == 2
    assert re.search(message, words(result.stderr)), result.stderr


def test_a_bundle_without_texts_says_what_it_needs(tiny_bundle: Path, images: list[Path]) -> None:
    result = invoke("run", tiny_bundle, images[0], "--classes", "a cat")
    assert result.exit_code == 1
    assert "has no text tower" in result.stderr


def test_a_name_that_is_cut_is_said(siglip2_bundle: Path, images: list[Path]) -> None:
    result = invoke("run", siglip2_bundle, images[0], "--classes", f"a cat, {'a photo of a red car ' * 9}", "--json")
    assert result.exit_code == 0, result.stderr
    assert f"has more than {TOKENS} tokens" in result.stderr


def test_an_empty_file_has_no_classes(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n \n")
    with pytest.raises(InvalidInputError, match="there are no classes"):
        parse_classes(str(tmp_path / "names.txt"))


@pytest.mark.parametrize(
    ("classes", "templates", "message"),
    [
        ("a cat", (TEMPLATE,), "classes is a str; expected a list of names"),
        ([], (TEMPLATE,), "there are no classes"),
        (["a cat", 3], (TEMPLATE,), "class 1 is a int; expected a name"),
        (["a cat"], TEMPLATE, "templates are .*; expected a list of sentences"),
        (["a cat"], [], "expected a list of sentences"),
        (["a cat"], ["{} {}"], r"has not one \{\}"),
    ],
)
def test_a_classifier_refuses_what_are_no_names(
    siglip2_bundle: Path, classes: Any, templates: Any, message: str
) -> None:
    encoder = ne.TextEncoder(siglip2_bundle, threads=1)
    with pytest.raises(InvalidInputError, match=message):
        ne.ZeroShotClassifier(encoder, classes, templates=templates)


def test_a_folded_head_is_siglip2_model_in_every_graph(folder: Path, theirs: Any, tmp_path: Path) -> None:
    imported = import_checkpoint(folder, text=True)
    assert imported.text is not None
    model = fold_classes(imported.model, imported.text, CLASSES)
    tokenizer = transformers.AutoProcessor.from_pretrained(folder)
    inputs = tokenizer(text=[TEMPLATE.format(name) for name in CLASSES], return_tensors="pt")

    def oracle(image: np.ndarray) -> dict[str, np.ndarray]:
        rows, columns = image.shape[0] // 8, image.shape[1] // 8
        patches = image.reshape(rows, 8, columns, 8, 3).transpose(0, 2, 1, 3, 4).reshape(1, rows * columns, 192)
        with torch.no_grad():
            found = theirs(
                **inputs,
                pixel_values=torch.from_numpy(patches.astype(np.float32)) / 127.5 - 1,
                pixel_attention_mask=torch.ones(1, rows * columns, dtype=torch.int64),
                spatial_shapes=torch.tensor([[rows, columns]]),
            )
        return {
            "logits": found.logits_per_image[0].numpy(),
            "embedding": found.vision_model_output.pooler_output[0].numpy(),
        }

    check_parity(model, oracle, tmp_path, outputs=("logits", "embedding"))


def test_export_with_classes_makes_a_classifier_of_any_runtime(
    folded: Path, theirs: Any, folder: Path, images: list[Path]
) -> None:
    manifest = manifests.load(folded)
    assert manifest.labels == CLASSES
    assert (manifest.scores, manifest.schema_minor) == ("sigmoid", 1)
    assert not any(name.startswith("text/") for name in manifest.files)  # the texts are in the head
    result = invoke("run", folded, *images, "--json")
    assert result.exit_code == 0, result.stderr
    expected = logits_of(theirs, folder, images, [TEMPLATE.format(name) for name in CLASSES])
    check_rows(rows_of(result.stdout), expected, CLASSES)
    with ne.Session(folded, threads=1) as session:
        (found,) = session.run(images[:1])
    assert found.scores == "sigmoid"
    assert found.embedding.shape == (WIDTH,)
    assert sum(one.score for one in found.top_k(3)) == pytest.approx(expected[0].sigmoid().sum().item(), abs=1e-4)


def test_export_refuses_classes_that_a_model_cannot_have(folder: Path, theirs: Any, tmp_path: Path) -> None:
    out = tmp_path / "x.navit"
    names = tmp_path / "names.txt"
    names.write_text("a\nb")
    both = invoke("export", "--checkpoint", folder, "--classes", "a cat", "--labels", names, "-o", out)
    assert both.exit_code == 2
    assert "leave --labels out" in words(both.stderr)
    without = invoke("export", "--model", "ti16", "--classes", "a cat", "-o", out)
    assert without.exit_code == 2
    assert "--classes need --checkpoint" in words(without.stderr)
    theirs.vision_model.save_pretrained(tmp_path / "vision")
    vision = invoke("export", "--checkpoint", tmp_path / "vision", "--classes", "a cat", "-o", out)
    assert vision.exit_code == 1
    assert "has no text tower" in vision.stderr
    imported = import_checkpoint(folder, text=True)
    assert imported.text is not None
    fold_classes(imported.model, imported.text, ["a cat"])
    with pytest.raises(InvalidInputError, match="has a classifier of its own"):
        fold_classes(imported.model, imported.text, ["a cat"])
    assert not out.exists()


def test_names_are_embedded_with_the_padding_masked_if_the_processor_masks_it(tmp_path: Path) -> None:
    theirs = make_folder(tmp_path, model_input_names=["input_ids", "attention_mask"])
    imported = import_checkpoint(tmp_path, text=True)
    assert imported.text is not None
    head: Any = fold_classes(imported.model, imported.text, CLASSES).head
    inputs = transformers.AutoProcessor.from_pretrained(tmp_path)(
        text=[TEMPLATE.format(name) for name in CLASSES], return_tensors="pt"
    )
    assert "attention_mask" in inputs
    with torch.no_grad():
        expected = torch.nn.functional.normalize(theirs.text_model(**inputs).pooler_output, dim=1)
        expected = expected * theirs.logit_scale.exp()
    torch.testing.assert_close(head.weight.detach(), expected, atol=TOLERANCE * float(expected.abs().max()), rtol=0)


def test_evaluate_answers_with_the_nearest_text(
    siglip2_bundle: Path, theirs: Any, folder: Path, images: list[Path], tmp_path: Path
) -> None:
    expected = logits_of(theirs, folder, images, [TEMPLATE.format(name) for name in CLASSES]).argmax(dim=1).tolist()
    labels = [CLASSES[expected[0]], CLASSES[expected[1]], CLASSES[(expected[2] + 1) % 3]]  # the last is wrong
    table = tmp_path / "data.csv"
    table.write_text("path,label\n" + "".join(f'{p},"{label}"\n' for p, label in zip(images, labels, strict=True)))
    names = tmp_path / "names.txt"
    names.write_text("\n".join(CLASSES))
    result = invoke("evaluate", siglip2_bundle, table, "--classes", names, "--timed-images", 0, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["head"], report["templates"]) == ("zero-shot", [TEMPLATE])
    assert (report["rows"][0]["top1"]["count"], report["rows"][0]["images"]) == (2, 3)


def test_evaluate_takes_the_names_of_the_data_if_none_are_given(
    siglip2_bundle: Path, images: list[Path], tmp_path: Path
) -> None:
    for name in ("a cat", "a dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        PIL.Image.open(images[0]).save(tmp_path / "data" / name / "1.png")
    options = ("--head", "zero-shot", "--timed-images", 0, "--json")
    result = invoke("evaluate", siglip2_bundle, tmp_path / "data", *options)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["rows"][0]["top1"]["count"] == 1  # the same image cannot be both
    other = invoke("evaluate", siglip2_bundle, tmp_path / "data", "--head", "knn", "--classes", "a cat")
    assert other.exit_code == 2
    assert "they go with zero-shot" in words(other.stderr)

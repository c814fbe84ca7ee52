"""SigLIP2's text tower, tokenizer and scores against transformers: ``navit-edge export --text``, TextEncoder."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import PIL.Image
import pytest
import tokenizers
import torch
import transformers
from command_line import invoke, words
from onnx_sessions import open_graph, run_graph
from parity import TOLERANCE
from siglip2_folder import TOKENS, WIDTH, make_folder

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle import publish
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge_export.families.registry import import_checkpoint
from navit_edge_export.text.graph import write_text
from navit_edge_export.text.tokenizer import siglip2_tokenizer

TEXTS = [
    "a cat", "A Photo Of A CAT", "", "   two  spaces ", "<eos> in a <pad>text", "日本語 ärger", "x" * 100, "a " * 40,
    "cat <bos> Dog<mask>", "\n\tTab", " lead", "İstanbul ẞ", "<EOS>", "<unk>", "\u2581a",
]  # fmt: skip


@pytest.fixture(scope="module")
def bundle(siglip2_bundle: Path) -> Path:
    return siglip2_bundle


@pytest.fixture(scope="module")
def folder(siglip2_bundle: Path) -> Path:
    return siglip2_bundle.parent / "folder"


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return transformers.Siglip2Model.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def encoder(bundle: Path) -> ne.TextEncoder:
    return ne.TextEncoder(bundle, threads=1)


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return transformers.AutoProcessor.from_pretrained(folder)


def differs(found: np.ndarray, expected: np.ndarray) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_the_manifest_names_graph_and_tokenizer_with_their_hashes(bundle: Path, theirs: Any) -> None:
    manifest = manifests.load(bundle)
    assert (manifest.schema_version, manifest.schema_minor) == (1, 1)
    tower = manifest.text
    assert isinstance(tower, manifests.TextTower)
    assert [(spec.name, spec.dtype, spec.shape) for spec in tower.inputs] == [("input_ids", "int32", ("N", TOKENS))]
    assert [(spec.name, spec.dtype, spec.shape) for spec in tower.outputs] == [("embedding", "float32", ("N", WIDTH))]
    assert {tower.file, tower.tokenizer, "text/weights.bin"} <= manifest.files.keys()
    assert tower.logit_scale == pytest.approx(theirs.logit_scale.exp().item(), rel=1e-7)
    assert tower.logit_bias == theirs.logit_bias.item()
    inspected = invoke("inspect", bundle, "--verify")
    assert inspected.exit_code == 0
    assert f"{TOKENS} tokens, embeddings of {WIDTH}; engines: openvino-cpu-text" in inspected.stdout


def test_a_bundle_without_texts_says_how_to_make_one_with_them(tiny_bundle: Path) -> None:
    written = json.loads((tiny_bundle / "manifest.json").read_text())
    assert "schema_minor" not in written  # so older readers open it
    assert "text" not in written
    with pytest.raises(BundleError, match=r"has no text tower.*export it again: navit-edge export .* --text"):
        ne.TextEncoder(tiny_bundle)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"padding_side": None},
        {"padding_side": "left"},
        {"model_input_names": None},
        {"add_eos_token": None, "add_bos_token": True},
        {"truncation_side": "left"},
        {"eos_token": {"__type": "AddedToken", "content": "<eos>", "special": True}},
        {"max_length": 9},
    ],
    ids=str,
)
def test_ids_are_those_of_the_processor(settings: dict[str, Any], tmp_path: Path) -> None:
    make_folder(tmp_path, weights=False, **settings)
    ours = siglip2_tokenizer(tmp_path)
    encodings = tokenizers.Tokenizer.from_str(ours.content.decode()).encode_batch(TEXTS)
    expected = transformers.AutoProcessor.from_pretrained(tmp_path)(text=TEXTS, return_tensors="np")
    np.testing.assert_array_equal([one.ids for one in encodings], expected["input_ids"])
    assert ours.tokens == expected["input_ids"].shape[1]
    assert ours.gives_mask is ("attention_mask" in expected)
    if ours.gives_mask:
        np.testing.assert_array_equal([one.attention_mask for one in encodings], expected["attention_mask"])


def test_ids_are_those_of_a_processor_that_transformers_saved_again(folder: Path, tmp_path: Path) -> None:
    processor = transformers.AutoProcessor.from_pretrained(folder)
    processor.save_pretrained(tmp_path)
    shutil.copy(folder / "config.json", tmp_path)
    again = tokenizers.Tokenizer.from_str(siglip2_tokenizer(tmp_path).content.decode())
    expected = processor(text=TEXTS, return_tensors="np")["input_ids"]
    np.testing.assert_array_equal([one.ids for one in again.encode_batch(TEXTS)], expected)


def test_the_text_graph_is_transformers_text_model(bundle: Path, theirs: Any, processor: Any) -> None:
    ids = processor(text=TEXTS, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = theirs.text_model(input_ids=ids).pooler_output.numpy()
    session = open_graph(bundle / "text" / "text.onnx")
    for count in (1, 2, len(TEXTS)):
        found = run_graph(session, {"input_ids": ids[:count].numpy().astype(np.int32)})["embedding"]
        assert differs(found, expected[:count]) <= TOLERANCE


def test_padding_that_the_processor_masks_is_masked(bundle: Path, tmp_path: Path) -> None:
    theirs = make_folder(tmp_path / "folder", model_input_names=["input_ids", "attention_mask"])
    imported = import_checkpoint(tmp_path / "folder", text=True)
    assert imported.text is not None
    assert imported.text.masks_padding
    inputs = transformers.AutoProcessor.from_pretrained(tmp_path / "folder")(text=TEXTS, return_tensors="pt")
    with torch.no_grad():
        expected = theirs.text_model(**inputs).pooler_output
        found = imported.text.tower(inputs["input_ids"].int(), inputs["attention_mask"].int())
        unmasked = theirs.text_model(input_ids=inputs["input_ids"]).pooler_output
    assert differs(found.numpy(), expected.numpy()) <= TOLERANCE
    assert differs(unmasked.numpy(), expected.numpy()) > 0.01  # so the mask counts

    copy = shutil.copytree(bundle, tmp_path / "x.navit")  # the image's side is the same
    shutil.rmtree(copy / "text")
    manifest = msgspec.structs.replace(manifests.load(copy), text=write_text(copy, imported.text))
    publish.seal(copy, manifest)
    embedded = ne.TextEncoder(copy, threads=1).embed(TEXTS[:3])
    unit = (expected / expected.norm(dim=1, keepdim=True)).numpy()
    assert differs(embedded, unit[:3]) <= TOLERANCE


def test_embeddings_have_length_1_and_do_not_depend_on_the_batch(encoder: ne.TextEncoder) -> None:
    texts = [
        f"{text} {n}" for n in range(9) for text in ("a cat", "two dogs", "a bird", "night")
    ]  # more than one batch
    together = encoder.embed(texts)
    assert (together.shape, together.dtype) == ((36, WIDTH), np.float32)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    for index in (0, 7, 35):
        assert differs(encoder.embed([texts[index]]), together[index : index + 1]) <= TOLERANCE


def test_logits_and_scores_of_pairs_are_those_of_siglip2_model(
    folder: Path, bundle: Path, encoder: ne.TextEncoder, theirs: Any, processor: Any
) -> None:
    rng = np.random.default_rng(3)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((50, 70), (64, 64), (30, 120))]
    texts = ["a cat", "A Photo of two dogs", "at night", "ärger"]
    inputs = transformers.Siglip2Processor(
        transformers.Siglip2ImageProcessorPil.from_pretrained(folder), processor.tokenizer
    )(
        text=texts,
        images=[PIL.Image.fromarray(image) for image in images],
        return_tensors="pt",
        max_num_patches=64,
        patch_size=8,
    )
    with torch.no_grad():
        expected = theirs(**inputs).logits_per_image
    with ne.Session(bundle, threads=1) as session:
        found = [result.embedding for result in session.run(images)]
    embedded = encoder.embed(texts)
    assert differs(encoder.logits(found, embedded), expected.numpy()) <= TOLERANCE
    scores = encoder.scores(found, embedded)
    np.testing.assert_allclose(scores, expected.sigmoid().numpy(), atol=TOLERANCE)
    assert differs(encoder.scores(found[1], embedded), scores[1:2]) <= TOLERANCE  # one image without a list
    assert np.ptp(scores) > 0.01


def test_a_text_that_is_too_long_is_cut_and_that_is_said(encoder: ne.TextEncoder) -> None:
    long = "a photo of a red car " * 9
    with pytest.warns(RuntimeWarning, match=rf"text 1 \(a photo of a red car .*…\) has more than {TOKENS} tokens; the"):
        found = encoder.embed(["a cat", long])
    with pytest.warns(RuntimeWarning, match=r"text 0 .* and 1 more has more"):
        again = encoder.embed([long + "at night", long])
    assert differs(again[:1], found[1:]) <= TOLERANCE
    assert encoder.tokenize(["a cat", long]).cut == (1,)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "texts is empty; expected at least one text"),
        ("a cat", r"texts is a str; expected a list of texts: \[text\]"),
        ({"a cat"}, "texts is a set; expected a list"),
        (["a cat", 3], "text 1 is a int; expected text"),
        (["a \ud800"], "text 0 .* holds half of a surrogate pair"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(encoder: ne.TextEncoder, texts: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        encoder.embed(texts)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, WIDTH)), r"image_embeddings have the shape \[0, 64\]"),
        (np.ones((2, 3)), r"image_embeddings have the shape \[2, 3\]; expected \[N, 64\]"),
        (np.zeros((1, WIDTH)), "row 0 of image_embeddings has the length 0.0"),
        (np.full((1, WIDTH), np.nan), "row 0 of image_embeddings has the length nan"),
        ([None], "image_embeddings (are no numbers|have the shape)"),
    ],
)
def test_embeddings_that_cannot_be_compared_are_refused(encoder: ne.TextEncoder, images: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        encoder.scores(images, encoder.embed(["a cat"]))


def test_threads_share_an_encoder(encoder: ne.TextEncoder) -> None:
    expected = encoder.embed(["a cat", "two dogs"])
    found: list[Any] = [None] * 4

    def embed(place: int) -> None:
        found[place] = [encoder.embed(["a cat", "two dogs"]) for _ in range(5)]

    threads = [threading.Thread(target=embed, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for several in found:
        for one in several:
            np.testing.assert_array_equal(one, expected)


def test_a_file_that_was_altered_is_not_opened(bundle: Path, tmp_path: Path) -> None:
    for name in ("text/text.onnx", "text/weights.bin", "text/tokenizer.json"):
        copy = shutil.copytree(bundle, tmp_path / name.replace("/", "-"))
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(BundleError, match=f"{name} was altered"):
            ne.TextEncoder(copy)


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def changed(name: str, **fields: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        for field, value in fields.items():
            *parents, last = field.split("__")
            inner = content
            for parent in parents:
                inner = inner[parent]
            inner[last] = value
        (folder / name).write_text(json.dumps(content))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("tokenizer.json"), "there is no .*tokenizer.json; expected the folder of the whole model"),
        (changed("tokenizer.json", model={"type": "WordLevel"}), "model is no BPE with a vocabulary"),
        (changed("tokenizer.json", truncation={"max_length": "x"}), "texts are cut to 'x' tokens"),
        (changed("tokenizer_config.json", padding_side="top"), "at the side 'top'; expected left or right"),
        (changed("tokenizer_config.json", pad_token="<nothing>"), "has no token '<nothing>'"),
        (changed("tokenizer_config.json", unk_token=3), "unk_token is 3; expected a token"),
        (changed("tokenizer_config.json", max_length=17), "17 tokens a text, and the text tower takes 16"),
        (changed("config.json", text_config__hidden_act="mish"), "hidden_act is 'mish'"),
        (changed("config.json", text_config__projection_size=32), "projection_size is 32; .* embeddings, 64"),
        (changed("config.json", text_config__num_attention_heads=5), "num_attention_heads is 5; .* divide"),
        (changed("config.json", text_config__num_hidden_layers=3), "does not fit its text_config: .*missing"),
        (changed("config.json", text_config__vocab_size=7), "does not fit its text_config: .*another shape"),
        (changed("config.json", text_config__intermediate_size=10**9), "weights; the checkpoint holds"),
        (changed("config.json", text_config=[1]), "text_config is .*an object of fields"),
    ],
)
def test_what_the_importer_cannot_represent_is_refused_by_name(
    folder: Path, change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "folder")
    change(copy)
    result = invoke("export", "--checkpoint", copy, "--text", "-o", tmp_path / "x.navit")
    assert result.exit_code == 1
    assert "this is a bug" not in result.stderr
    assert re.search(message, result.stderr.replace("\n", " ")), result.stderr
    assert not (tmp_path / "x.navit").exists()


def test_a_checkpoint_without_texts_is_refused_with_the_reason(folder: Path, theirs: Any, tmp_path: Path) -> None:
    theirs.vision_model.save_pretrained(tmp_path / "vision")
    with pytest.raises(InvalidInputError, match="has no text tower: no tensor's name begins with text_model"):
        import_checkpoint(tmp_path / "vision", text=True)
    with pytest.raises(InvalidInputError, match=r"is a file, and a text tower needs the tokenizer beside it"):
        import_checkpoint(folder / "model.safetensors", config=folder / "config.json", text=True)
    transformers.Dinov2Model(
        transformers.Dinov2Config(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28)
    ).save_pretrained(tmp_path / "dinov2")
    with pytest.raises(InvalidInputError, match="the family dinov2 has no text tower; expected one of siglip2"):
        import_checkpoint(tmp_path / "dinov2", text=True)
    result = invoke("export", "--model", "ti16", "--text", "-o", tmp_path / "x.navit")
    assert result.exit_code == 2
    assert "--text and --classes need --checkpoint" in words(result.stderr)


def test_build_engine_compiles_the_text_graph_once_and_again_if_it_is_asked_to(bundle: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / "x.navit")
    before = manifests.load(copy)
    assert isinstance(before.text, manifests.TextTower)
    (engine,) = before.text.engines
    assert (engine.id, engine.backend, engine.precision) == ("openvino-cpu-text", "openvino", "fp32")
    assert {engine.file, engine.report} <= before.files.keys()
    assert [one.id for one in before.engines] == ["openvino-cpu-fp32"]
    again = ("build-engine", copy, "--backend", "openvino", "--precision", "fp32", "--token-budgets", "1024", "--json")
    planned = json.loads(invoke(*again, "--dry-run").stdout)
    assert [(one["id"], one["already_built"]) for one in planned["engines"]] == [
        ("openvino-cpu-fp32", True),
        ("openvino-cpu-text", True),
    ]
    result = invoke(*again, "--force")
    assert result.exit_code == 0, result.stderr
    assert [one["id"] for one in json.loads(result.stdout)["engines"]] == ["openvino-cpu-fp32", "openvino-cpu-text"]
    after = manifests.load(copy)
    assert isinstance(after.text, manifests.TextTower)
    assert [one.id for one in after.text.engines] == ["openvino-cpu-text"]
    assert after.files.keys() == {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()} - {
        "manifest.json"
    }
    np.testing.assert_array_equal(
        ne.TextEncoder(copy, threads=1).embed(["a cat"]), ne.TextEncoder(bundle, threads=1).embed(["a cat"])
    )

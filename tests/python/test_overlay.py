"""Attention maps through a session: results, files of a job, pictures over images, pages."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from command_line import invoke
from PIL import Image
from test_page import decoded
from tiny_bundle import TinyConfig, make_bundle

import navit_edge as ne
from navit_edge.compile import BuildRequest, build_engines
from navit_edge.page.overlay import overlay
from navit_edge.run.overlays import MOST_PX, picture_name
from navit_edge.verify import verify
from navit_edge_export.model import NaViT, NaViTConfig
from navit_edge_export.onnx_export import export_bundle

CONFIG = NaViTConfig(width=32, depth=1, heads=2, mlp_width=48, num_classes=5)


@pytest.fixture(scope="module")
def bundle(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A probe's map beside the logits, with an OpenVINO engine in float32."""

    def make(folder: Path) -> None:
        path = folder / "mapped.navit"
        export_bundle(NaViT(CONFIG, seed=3), path, outputs=("logits", "attention-map"))
        build_engines(path, BuildRequest(backend="openvino", precision=("fp32",), token_budgets=(256,)))

    return made_once("attention-map", make) / "mapped.navit"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three sizes, one larger than a picture may be, and a file that is none."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name, height, width in (("a.png", 40, 70), ("sub/a.png", 64, 48), ("large.png", 20, 2000)):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / name)
    (folder / "torn.jpg").write_bytes(b"no image")
    return folder


def test_a_result_has_the_map_of_pytorch_alone_and_packed(bundle: Path) -> None:
    rng = np.random.default_rng(1)
    images = [
        rng.integers(0, 256, (16 * rows, 16 * columns, 3), np.uint8) for rows, columns in ((3, 5), (1, 2), (6, 4))
    ]
    model = NaViT(CONFIG, seed=3).eval()
    model.with_attention_map()
    with ne.Session(bundle, precision="fp32") as session:
        packed, alone = session.run(images), [session.run([image])[0] for image in images]
    assert {result.pack for result in packed} == {0}
    for image, one, other in zip(images, packed, alone, strict=True):
        expected = model.forward_images([image])["attention_map"].detach().numpy()
        assert one.attention_map is not None
        np.testing.assert_allclose(one.attention_map, expected, atol=1e-6)
        np.testing.assert_allclose(other.attention_map, expected, atol=1e-6)
        picture = one.on_image()
        assert picture.shape == image.shape[:2]
        np.testing.assert_allclose(picture[8::16, 8::16].sum(), 1, atol=0.2)  # near the centres of patches
        assert np.array_equal(one.on_image(one.attention_map)[..., 0], picture)
        assert one.numpy().keys() == {"logits", "attention_map"}
        for copied in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
            assert np.array_equal(copied.attention_map, one.attention_map)
            assert np.array_equal(copied.on_image(), picture)


def test_dropped_patches_have_no_weight_and_no_pixels(bundle: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (96, 64, 3), np.uint8)
    mask = np.arange(24).reshape(6, 4) % 3 > 0
    with ne.Session(bundle, precision="fp32") as session:
        (result,) = session.run([image], policy=ne.Policy.drop(mask))
    assert result.attention_map is not None
    assert result.attention_map.shape == (16, 1)
    assert result.attention_map.sum() == pytest.approx(1, abs=1e-5)
    assert np.array_equal(np.isnan(result.on_image()), np.kron(~mask, np.ones((16, 16), bool)))


def test_a_job_keeps_the_maps_and_its_page_shows_them(bundle: Path, photos: Path, tmp_path: Path) -> None:
    with ne.Session(bundle, precision="fp32") as session:
        expected = [session.run([photos / name])[0].attention_map for name in ("a.png", "large.png")]
    options = ["--save", "attention_map", "-q"]
    page = tmp_path / "page.html"
    assert invoke("run", bundle, photos, "-o", tmp_path / "a.parquet", "--html", page, *options).exit_code == 1
    found = pq.read_table(tmp_path / "a.parquet").to_pylist()
    kept = [np.array(row["attention_map"], np.float32) for row in found if row["attention_map"] is not None]
    assert invoke("run", bundle, photos, "-o", tmp_path / "arrays", "--format", "numpy", *options).exit_code == 1
    values, ends = (np.load(tmp_path / "arrays" / f"attention_map{end}.npy") for end in ("", "_offsets"))
    assert len(kept) == 2
    for one, other, start, end in zip(kept, expected, ends, ends[1:], strict=False):
        assert np.array_equal(one, other)
        assert np.array_equal(values[start:end], other)
    assert page.read_text(encoding="utf-8").count('class="picture map"') == 2


def test_a_report_shows_the_map_beside_each_example(
    bundle: Path, tiny_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    page, data = tmp_path / "page.html", tmp_path / "page.json"
    options = ["--images", photos, "-o", page, "--json-file", data]
    assert invoke("report", bundle, *options).exit_code == 0
    assert page.read_text(encoding="utf-8").count('class="picture map"') == 3
    cards = json.loads(data.read_text())["bundles"][0]["examples"]["cards"]
    assert [card["name"] for card in cards] == ["a.png", "large.png", "sub/a.png", "torn.jpg"]
    with ne.Session(bundle, overflow="downscale") as session:
        for card in cards[:3]:
            (result,) = session.run([photos / card["name"]])
            weights = result.on_grid(result.attention_map.mean(1))
            shown = np.asarray(decoded(card["map"]))[..., 3].astype(float)
            np.testing.assert_allclose(shown, 255 * weights / weights.max(), atol=1)
            assert shown.max() == 255
            assert card["peak"] == pytest.approx(weights.max() / weights.mean(), rel=1e-3)
    assert cards[3]["map"] == ""
    assert cards[3]["error"]
    assert invoke("report", tiny_bundle, *options).exit_code == 0
    assert "picture grid" in page.read_text(encoding="utf-8")
    assert 'class="picture map"' not in page.read_text(encoding="utf-8")


def test_verify_judges_the_map(bundle: Path) -> None:
    certificate = verify(bundle)
    assert certificate.engines[0].distances.keys() == {"logits", "attention_map"}


# --- pictures


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_every_image_has_its_picture_and_one_that_failed_has_none(bundle: Path, photos: Path, tmp_path: Path) -> None:
    shown = tmp_path / "new" / "shown"
    assert invoke("run", bundle, photos, "-r", "--json", "--overlay", shown).exit_code == 1  # one file is no image
    names = {name: picture_name(str(photos / name)) for name in ("a.png", "sub/a.png", "large.png")}
    assert {path.name for path in shown.iterdir()} == set(names.values())
    sizes = {name: size_of(shown / file) for name, file in names.items()}
    assert sizes == {"a.png": (70, 40), "sub/a.png": (48, 64), "large.png": (MOST_PX, 16)}
    assert invoke("run", bundle, photos, "-r", "--json", "--overlay", shown).exit_code == 1
    assert {path.name for path in shown.iterdir()} == set(names.values())  # the same names in every run


def test_without_a_map_the_norms_of_tokens_are_shown_and_without_both_it_is_refused(
    tiny_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    assert invoke("run", tiny_bundle, photos / "a.png", "--overlay", tmp_path / "norms").exit_code == 0
    (picture,) = (tmp_path / "norms").iterdir()
    assert size_of(picture) == (70, 40)
    other = make_bundle(tmp_path / "other.navit", TinyConfig(depth=1, outputs=("logits", "embedding")))
    finished = invoke("run", other, photos / "a.png", "--overlay", tmp_path / "none")
    assert finished.exit_code == 2
    assert "--outputs logits,embedding,attention-map" in " ".join(finished.output.replace("│", " ").split())
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_is_refused_before_the_run(tiny_bundle: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    finished = invoke("run", tiny_bundle, photos / "a.png", "-o", tmp_path / "a.jsonl", "--overlay", tmp_path / "file")
    assert finished.exit_code != 0
    assert "file" in finished.output
    assert (tmp_path / "file").read_text() == "here"


def test_colours_follow_the_values_and_no_data_is_dark() -> None:
    rgb = np.full((1, 4, 3), 100, np.uint8)
    picture = overlay(rgb, np.array([[0.0, 0.5, 1.0, np.nan]], np.float32)).astype(int)
    bright = picture.sum(-1)[0]
    assert bright[3] < bright[0] < bright[1] < bright[2]
    assert picture[0, 3].tolist() == [30, 30, 30]
    scaled = overlay(rgb, np.array([[-5.0, 0.0, 2.0, 9.0]], np.float32), (0.0, 2.0)).astype(int)
    assert scaled[0].tolist() == [picture[0, i].tolist() for i in (0, 0, 2, 2)]
    flat: npt.NDArray[np.float32] = np.full((1, 4), 3.0, np.float32)
    assert (overlay(rgb, flat) == overlay(rgb, flat)[0, 0]).all()
    assert (overlay(rgb, np.full((1, 4), np.nan)) == 30).all()

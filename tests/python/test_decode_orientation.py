"""Images enter upright: one rule for every format, applied once, as the bundle says; judged by Pillow's
``exif_transpose`` and libheif (by transformers in tests/families/test_decoding.py)."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from image_files import UInt8Array, chunk, encoded, picture, png
from PIL import Image, ImageOps
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.bundle import manifest as manifests
from navit_edge.bundle.identity import model_hash
from navit_edge.cli.main import app
from navit_edge.decode import DecodeOptions, Decoder, Recorded

UPRIGHT = Decoder()
AS_DECODED = Decoder(recorded=Recorded(orientation="as-decoded"))


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[274] = orientation
    return block.tobytes()


def xmp(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'
        % orientation
    )


def raw_profile(orientation: int) -> bytes:
    """How ImageMagick and old cameras put EXIF into a PNG's text."""
    block = exif(orientation)
    return b"Raw profile type exif\0\nexif\n%8d\n%s\n" % (len(block), block.hex().encode())


RGB8 = (picture(), 2, 8)
FORMATS: dict[str, Callable[[int], bytes]] = {
    "JPEG": lambda o: encoded("JPEG", exif=exif(o)),
    "JPEG by XMP": lambda o: encoded("JPEG", xmp=xmp(o)),
    "MPO": lambda o: encoded("MPO", exif=exif(o), save_all=True, append_images=[Image.fromarray(picture())]),
    "PNG": lambda o: encoded("PNG", exif=exif(o)),
    "PNG, EXIF behind the pixels": lambda o: png(*RGB8, after=[chunk(b"eXIf", exif(o)[6:])]),
    "PNG, a raw profile": lambda o: png(*RGB8, before=[chunk(b"tEXt", raw_profile(o))]),
    "PNG, a raw profile behind the pixels": lambda o: png(*RGB8, after=[chunk(b"tEXt", raw_profile(o))]),
    "WebP": lambda o: encoded("WEBP", exif=exif(o)),
    "TIFF": lambda o: encoded("TIFF", tiffinfo={274: o}),
    "TIFF, packed": lambda o: encoded("TIFF", tiffinfo={274: o}, compression="tiff_lzw"),
    "AVIF, by its container": lambda o: encoded("AVIF", exif=exif(o)),
    "JPEG 2000": lambda o: encoded("JPEG2000"),  # says nothing
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_turned_upright_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    for orientation in range(1, 9):
        path.write_bytes(FORMATS[name](orientation))
        with Image.open(path) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        found = UPRIGHT.decode(path)
        assert np.array_equal(np.asarray(found.image.convert("RGB")), expected)
        turned = f"turned upright (orientation {orientation})" if orientation > 1 and name != "JPEG 2000" else ""
        assert "; ".join(word for word in found.done if not word.startswith("the first")) == turned
        assert UPRIGHT.size_of(path) == expected.shape[:2]


@pytest.mark.parametrize("name", FORMATS)
def test_bundles_that_do_not_say_keep_their_numbers(name: str, tmp_path: Path) -> None:
    """What was done before there was a rule: what Pillow does by itself."""
    path = tmp_path / "file"
    for orientation in (1, 3, 6):
        path.write_bytes(FORMATS[name](orientation))
        with Image.open(path) as image:
            expected = np.asarray(image.convert("RGB"))
        assert np.array_equal(np.asarray(AS_DECODED.decode(path).image.convert("RGB")), expected)
        assert AS_DECODED.size_of(path) == expected.shape[:2]


def test_heic_is_turned_by_its_container_and_not_again_by_its_exif(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "photo.heic"
    for orientation in (1, 3, 6, 8):
        container = pillow_heif.from_pillow(Image.fromarray(picture(48, 64)))
        container.info["exif"] = exif(orientation)
        with path.open("wb") as file:
            container.save(file, quality=-1, chroma=444)
        expected = np.asarray(pillow_heif.open_heif(path).to_pillow().convert("RGB"))  # libheif turns it
        for decoder in (UPRIGHT, AS_DECODED):
            assert np.array_equal(np.asarray(decoder.decode(path).image), expected)
            assert decoder.size_of(path) == expected.shape[:2]


def test_a_pil_image_is_turned_unless_it_was_turned_already() -> None:
    for form in ("JPEG", "PNG", "WEBP"):
        opened = Image.open(io.BytesIO(encoded(form, exif=exif(6))))
        upright = ImageOps.exif_transpose(opened)
        assert np.array_equal(ne.to_rgb(opened), np.asarray(upright.convert("RGB")))
        assert np.array_equal(ne.to_rgb(upright), np.asarray(upright.convert("RGB")))
        assert opened.size == (40, 24)  # the caller's image stays as it was
    tiff = Image.open(io.BytesIO(encoded("TIFF", tiffinfo={274: 6})))
    assert np.array_equal(ne.to_rgb(tiff), np.asarray(tiff))
    assert np.array_equal(ne.to_rgb(tiff), np.asarray(tiff))  # now that it is loaded, too


BROKEN_EXIF = {
    "no TIFF": b"Exif\0\0" + bytes(40),
    "a directory out of the block": b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(20),
    "an orientation that is text": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\4\0\0\0abc\0\0\0\0\0",
    "an orientation of 77": exif(77),
    "an orientation of 0": exif(0),
    "cut off": exif(6)[:18],
}


@pytest.mark.parametrize("name", BROKEN_EXIF)
def test_exif_that_makes_no_sense_turns_nothing_and_costs_no_image(
    name: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    for form in ("JPEG", "PNG", "WEBP"):
        data = encoded(form, exif=BROKEN_EXIF[name])
        (tmp_path / "file").write_bytes(data)
        found = np.asarray(UPRIGHT.decode(tmp_path / "file").image)
        assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(data))))


def test_exif_that_pillow_cannot_write_anew_turns_the_image_all_the_same(tmp_path: Path) -> None:
    """A rational of -1 / 0, which ends ``exif_transpose`` with a struct.error, and a header that is there twice."""
    block = Image.Exif()
    block[274] = 6
    block[282] = 72.0
    data = block.tobytes()
    broken = data.replace(struct.pack(">LL", 72, 1), struct.pack(">LL", 0xFFFFFFFF, 0))
    assert broken != data
    for given in (broken, b"Exif\0\0" + data):
        (tmp_path / "photo.jpg").write_bytes(encoded("JPEG", exif=given))
        found = UPRIGHT.decode(tmp_path / "photo.jpg")
        assert found.image.size == (24, 40)
        assert found.done == ("turned upright (orientation 6)",)


# --- what a bundle says -----------------------------------------------------------------------------------------


def bundle_that_says(bundle: Path, folder: Path, **fields: str) -> Path:
    path = Path(shutil.copytree(bundle, folder / "copy.navit"))
    manifest = json.loads((path / "manifest.json").read_text())
    for name in ("orientation", "icc"):
        manifest["preprocess"].pop(name, None)
    manifest["preprocess"] |= fields
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_the_bundle_decides_and_the_session_may_say_otherwise(job_bundle: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(encoded("JPEG", exif=exif(6)))
    stored = np.asarray(Image.open(photo))
    upright = np.rot90(stored, -1)
    old = bundle_that_says(job_bundle, tmp_path / "old")
    new = bundle_that_says(job_bundle, tmp_path / "new", orientation="apply")

    def logits(bundle: Path, image: Path | UInt8Array, **options: str) -> UInt8Array:
        decode = DecodeOptions(**options) if options else None  # type: ignore[arg-type]
        with ne.Session(bundle, threads=1, decode=decode) as session:
            (result,) = session.run([image])
            found: UInt8Array = result.logits
            return found

    expected = {turned: logits(old, np.ascontiguousarray(a)) for turned, a in ((False, stored), (True, upright))}
    assert not np.array_equal(expected[False], expected[True])
    assert np.array_equal(logits(old, photo), expected[False])
    assert np.array_equal(logits(new, photo), expected[True])
    assert np.array_equal(logits(old, photo, orientation="apply"), expected[True])
    assert np.array_equal(logits(new, photo, orientation="as-decoded"), expected[False])


def test_outputs_that_older_versions_began_go_on(job_bundle: Path, tmp_path: Path) -> None:
    """What names a job's model is hashed as it was before the fields were there, where a bundle does not use them."""
    bundle = bundle_that_says(job_bundle, tmp_path)
    content = manifests.load(bundle)
    raw = json.loads((bundle / "manifest.json").read_text())
    files = sorted((name, file["sha256"]) for name, file in raw["files"].items() if name.startswith("graphs/"))
    parts = [content.model, raw["preprocess"], files, content.labels]
    assert model_hash(bundle, as_written=True) == hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
    assert model_hash(bundle_that_says(job_bundle, tmp_path / "new", orientation="apply")) != model_hash(bundle)


def test_a_plan_counts_the_tokens_that_a_run_takes(job_bundle: Path, tmp_path: Path) -> None:
    """By the header, also where the EXIF of a PNG lies behind its pixels."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("JPEG", "PNG, EXIF behind the pixels", "TIFF", "AVIF, by its container")):
        (folder / f"{number}.png").write_bytes(FORMATS[name](6))
    for fields in ({}, {"orientation": "apply"}):
        bundle = bundle_that_says(job_bundle, tmp_path / f"{len(fields)}", **fields)
        planned = CliRunner().invoke(app, ["plan", str(bundle), str(folder), "--json"])
        assert planned.exit_code == 0, planned.output
        grids = [tuple(choice["grid"]) for choice in json.loads(planned.stdout)["choices"]]
        with ne.Session(bundle, threads=1) as session:
            results = session.run(sorted(folder.iterdir()))
        assert grids == [tuple(result.grid) for result in results]
        assert len(set(grids)) == (1 if fields else 2)


def test_run_takes_the_rule_on_its_command_line_and_resumes_by_it(job_bundle: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(encoded("JPEG", exif=exif(6)))
    rows = {}
    for rule in ("apply", "as-decoded"):
        output = tmp_path / f"{rule}.jsonl"
        command = ["run", str(job_bundle), str(photo), "-q", "-o", str(output), "--orientation", rule]
        assert CliRunner().invoke(app, command).exit_code == 0
        assert CliRunner().invoke(app, [*command, "--resume"]).exit_code == 0
        rows[rule] = json.loads(output.read_text())
    assert (rows["apply"]["pixels"], rows["as-decoded"]["pixels"]) == ([40, 24], [24, 40])
    assert rows["apply"]["reason"] == "turned upright (orientation 6)"
    other = CliRunner().invoke(app, [*command[:-1], "apply", "--resume"])
    assert other.exit_code == 1
    assert "orientation was as-decoded and is apply" in other.output

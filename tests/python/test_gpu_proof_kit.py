"""What `make gpu-proof-kit` packs and `run.sh` unpacks: no weights, and nothing that was altered on the way."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import navit_edge as ne


@pytest.fixture(autouse=True)
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(repository / "scripts"))


def weights(bundle: Path) -> dict[str, np.ndarray]:
    """Name -> value of the masked graph's, those of its external file."""
    kept = onnx.load(bundle / "graphs" / "masked.onnx", load_external_data=False).graph.initializer
    outside = {one.name for one in kept if one.external_data}
    whole = onnx.load(bundle / "graphs" / "masked.onnx").graph.initializer
    return {one.name: numpy_helper.to_array(one) for one in whole if one.name in outside}


def test_a_bundle_travels_without_its_weights_and_gets_some_that_are_as_random(
    bundle_copy: Path, tmp_path: Path
) -> None:
    from proof.seeded import draw, strip

    places = [tmp_path / name / "tiny.navit" for name in ("one", "other")]
    strip(bundle_copy, places[0])
    assert sum(file.stat().st_size for file in (places[0] / "graphs").iterdir()) < 400_000
    shutil.copytree(places[0], places[1])
    for place in places:
        draw(place)
    before, drawn, again = weights(bundle_copy), weights(places[0]), weights(places[1])
    assert set(drawn) == set(before)
    for name, value in before.items():
        assert drawn[name].shape == value.shape
        assert np.array_equal(drawn[name], again[name]), "by a seed they are the same everywhere"
        if value.size > 1000:
            assert drawn[name].std() == pytest.approx(value.std(), rel=0.1)
            assert not np.array_equal(drawn[name], value)
    with ne.Session(places[0], device="cpu") as session:
        (result,) = session.run([np.zeros((32, 48, 3), np.uint8)])
    assert result.embedding is not None
    assert np.isfinite(result.embedding).all()


def make_kit(folder: Path) -> Path:
    """With one wheel, one library and their sums."""
    from proof.unpack import SUMS, lines

    (folder / "wheels").mkdir(parents=True)
    with zipfile.ZipFile(folder / "wheels" / "one-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("one.py", "NUMBER = 1\n")
    (folder / "libraries" / "lib").mkdir(parents=True)
    (folder / "libraries" / "lib" / "libone.so").write_bytes(b"library")
    (folder / SUMS).write_text("\n".join(lines(folder)) + "\n")
    return folder


def test_a_kit_unpacks_into_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from proof import unpack

    kit, target = make_kit(tmp_path / "kit"), tmp_path / "unpacked"
    monkeypatch.setattr(sys, "argv", ["unpack", str(kit), str(target)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    unpack.main()
    assert (target / "site" / "one.py").read_text() == "NUMBER = 1\n"
    assert (target / "libraries" / "lib" / "libone.so").read_bytes() == b"library"


@pytest.mark.parametrize("fault", ["altered", "missing", "one too many"])
def test_a_kit_that_is_not_as_it_was_made_is_refused_by_the_files_name(tmp_path: Path, fault: str) -> None:
    from proof.unpack import check

    kit = make_kit(tmp_path / "kit")
    check(kit)
    name = "libraries/lib/libmore.so" if fault == "one too many" else "libraries/lib/libone.so"
    if fault == "missing":
        (kit / name).unlink()
    else:
        (kit / name).write_bytes(b"other")
    with pytest.raises(SystemExit, match=f"{name} is not what SHA256SUMS says; .*copy it again"):
        check(kit)


def test_a_kit_is_as_large_as_it_may_be_and_no_larger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import gpu_proof_kit

    kit = make_kit(tmp_path / "kit")
    monkeypatch.setattr(gpu_proof_kit, "MOST_BYTES", 1 << 20)
    gpu_proof_kit.weigh(kit)
    assert "0.0 MiB in 3 files" in capsys.readouterr().out
    with (kit / "large").open("wb") as file:
        file.truncate(2 << 20)
    with pytest.raises(SystemExit, match=r"the kit is 2\.0 MiB; expected at most 1; leave something out"):
        gpu_proof_kit.weigh(kit)


def test_weights_that_are_quantized_do_not_travel(bundle_copy: Path, tmp_path: Path) -> None:
    from proof.seeded import strip

    file = bundle_copy / "graphs" / "masked.onnx"
    model = onnx.load(file, load_external_data=False)
    tensor = next(one for one in model.graph.initializer if one.external_data)
    tensor.data_type = onnx.TensorProto.INT8
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="is not of float32; only a model as it is exported travels so"):
        strip(bundle_copy, tmp_path / "stripped.navit")


def test_the_list_of_what_to_draw_names_the_file_and_its_size(bundle_copy: Path, tmp_path: Path) -> None:
    from proof.seeded import LIST, strip

    strip(bundle_copy, tmp_path / "stripped.navit")
    told = json.loads((tmp_path / "stripped.navit" / LIST).read_text())
    assert (bundle_copy / told["file"]).stat().st_size == told["bytes"]
    assert not (tmp_path / "stripped.navit" / told["file"]).exists()

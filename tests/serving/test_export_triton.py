"""The model repository that ``export-triton`` writes, read by protobuf."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

import navit_edge as ne
from navit_edge.bundle import hashing
from navit_edge.bundle.manifest import Engine
from navit_edge.cli.main import app
from navit_edge.errors import BundleError, InvalidInputError
from navit_edge.triton import ExportRequest, config, export_repository

text_format = pytest.importorskip("google.protobuf.text_format")
model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")


def read(text: str) -> Any:
    """A config as Triton's own schema has it; what is not in it is an error."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_the_config_is_what_tritons_schema_reads(job_bundle: Path, tmp_path: Path) -> None:
    done = export_repository(job_bundle, tmp_path / "models", ExportRequest(name="eyes", instances=3))
    found = read((tmp_path / "models" / "eyes" / "config.pbtxt").read_text("utf-8"))
    assert (found.name, found.backend, found.max_batch_size) == ("eyes", "python", 0)
    assert found.model_transaction_policy.decoupled
    assert [(one.count, one.Kind.Name(one.kind)) for one in found.instance_group] == [(3, "KIND_CPU")]
    assert all(one.optional for one in found.input)
    assert [(one.name, list(one.dims)) for one in found.input] == [
        ("images", [-1]),
        ("pixels", [-1]),
        ("shapes", [-1, 3]),
    ]
    outputs = {one.name: (one.data_type, list(one.dims)) for one in found.output}
    assert outputs["logits"] == (11, [-1, 5])  # TYPE_FP32
    assert outputs["labels"] == (13, [-1, -1])  # TYPE_STRING
    assert outputs["index"] == (8, [-1])  # TYPE_INT32
    assert {"embedding", "tokens", "rows", "grid", "tokens_used", "scores"} < set(outputs)
    assert found.parameters["bundle"].string_value == done.bundle == "eyes.navit"
    assert set(done.files) >= {"eyes/config.pbtxt", "eyes/1/model.py", "eyes/1/eyes.navit/manifest.json"}


def test_the_copy_is_the_whole_bundle_and_stands_alone(own_copy: Path, tmp_path: Path) -> None:
    (own_copy / "notes.txt").write_text("no file of the bundle")
    export_repository(own_copy, tmp_path / "models")
    manifest = ne.load_manifest(own_copy)
    shutil.rmtree(own_copy)
    copy = tmp_path / "models" / manifest.name / "1" / f"{manifest.name}.navit"
    assert ne.load_manifest(copy) == manifest
    hashing.verify_files(copy, manifest)
    assert not (copy / "notes.txt").exists()
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == [manifest.name]


def test_a_link_names_the_bundle_by_its_absolute_path(
    job_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(job_bundle.parent)
    done = export_repository(Path(job_bundle.name), tmp_path, ExportRequest(link=True))
    assert done.bundle == str(job_bundle.resolve())
    assert not list((tmp_path / done.name / "1").glob("*.navit"))


@pytest.mark.parametrize("value", ['with "quotes" and \\ and\nlines', "gr\u00f6\u00dfe \u4e2d", "tab\t and bell\x07"])
def test_any_path_comes_back_from_the_config_as_it_was(job_bundle: Path, value: str) -> None:
    text = config.config_text(
        ne.load_manifest(job_bundle),
        name="m",
        kind="KIND_CPU",
        instances=1,
        decoupled=False,
        parameters={"bundle": value},
    )
    assert read(text).parameters["bundle"].string_value == value
    assert not read(text).model_transaction_policy.decoupled


def test_the_engines_say_where_the_model_runs(job_bundle: Path) -> None:
    manifest = ne.load_manifest(job_bundle)
    of_cpu = manifest.engines[0]
    of_gpu = msgspec.structs.replace(of_cpu, backend="tensorrt-rtx")

    def kind(*engines: Engine) -> str:
        return config.kind_of(msgspec.structs.replace(manifest, engines=engines))

    assert (kind(of_cpu), kind(of_gpu), kind(of_cpu, of_gpu)) == ("KIND_CPU", "KIND_GPU", "KIND_AUTO")
    with pytest.raises(BundleError, match=r"has no engine.*build-engine"):
        kind()


def test_a_model_that_is_there_is_replaced_only_if_it_is_said(job_bundle: Path, tmp_path: Path) -> None:
    export_repository(job_bundle, tmp_path, ExportRequest(name="one"))
    with pytest.raises(BundleError, match=r"one exists; .*--overwrite"):
        export_repository(job_bundle, tmp_path, ExportRequest(name="one"))
    export_repository(job_bundle, tmp_path, ExportRequest(name="one", decoupled=False, overwrite=True))
    assert "decoupled: false" in (tmp_path / "one" / "config.pbtxt").read_text("utf-8")
    (tmp_path / "other").mkdir()
    with pytest.raises(BundleError, match="no model of Triton"):
        export_repository(job_bundle, tmp_path, ExportRequest(name="other", overwrite=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other"]


def test_a_damaged_bundle_leaves_nothing_behind(own_copy: Path, tmp_path: Path) -> None:
    with (own_copy / ne.load_manifest(own_copy).engines[0].file).open("r+b") as engine:
        engine.write(b"x")
    with pytest.raises(BundleError, match="was altered"):
        export_repository(own_copy, tmp_path / "models")
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize(("options", "words"), [({"name": "../up"}, "name is"), ({"instances": 0}, "instances is 0")])
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        ExportRequest(**options)


def test_the_command_says_what_it_wrote_and_what_comes_next(job_bundle: Path, tmp_path: Path) -> None:
    command = ["export-triton", str(job_bundle), "-o", str(tmp_path / "models"), "--no-decoupled", "--name", "m"]
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["name"], said["kind"], said["decoupled"], said["bundle"]) == ("m", "KIND_CPU", False, "m.navit")
    result = CliRunner().invoke(app, [*command, "--overwrite"])
    assert "tritonserver --model-repository=" in result.stdout
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1
    assert "--overwrite" in result.stderr
    result = CliRunner().invoke(app, [*command, "--instances", "0"])
    assert result.exit_code == 2

"""Checkpoints by the name of a model on the Hub: what is downloaded, what the cache serves, what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers
from hub_server import COMMIT, REPO, Hub, serve
from huggingface_hub import constants
from safetensors.torch import save_file
from typer.testing import CliRunner

from navit_edge.bundle import manifest as manifests
from navit_edge.cli.main import app
from navit_edge.errors import InvalidInputError
from navit_edge_export.families.hub import HubFolder, open_hub_folder, parse_name
from navit_edge_export.families.registry import import_checkpoint

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "num_patches": 16,
    "patch_size": 8,
}  # fmt: skip
TOWER, TEXT = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def write_repository(folder: Path) -> Path:
    """A small SigLIP2 whose tower lies in one shard and whose text model in another, with a pickle beside them."""
    torch.manual_seed(0)
    theirs = transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**SIZES))
    theirs.config.save_pretrained(folder)
    tower = {f"vision_model.{name}": tensor.contiguous() for name, tensor in theirs.state_dict().items()}
    text = {"text_model.embeddings.token_embedding.weight": torch.zeros(100, 32), "logit_scale": torch.zeros(1)}
    save_file(tower, folder / TOWER)
    save_file(text, folder / TEXT)
    places = {**dict.fromkeys(tower, TOWER), **dict.fromkeys(text, TEXT)}
    total = sum(tensor.nbytes for tensor in (tower | text).values())
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "preprocessor_config.json").write_text('{"max_num_patches": 64}')
    (folder / "pytorch_model.bin").write_bytes(b"never to be read")
    (folder / "README.md").write_text("not needed")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path / "repository")


@pytest.fixture
def hub(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on this machine, and an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    with serve(repository) as found:
        point_at(found.url, monkeypatch)
        yield found


def point_at(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_a_name_of_the_hub_gives_the_folders_bundle_and_only_what_is_needed_is_downloaded(
    hub: Hub, repository: Path, tmp_path: Path
) -> None:
    local = ["export", "--checkpoint", str(repository), "-o", str(tmp_path / "local.navit"), "--lowerings", "padded"]
    assert CliRunner().invoke(app, local).exit_code == 0
    arguments = ["export", "--checkpoint", f"hf:{REPO}@v1", "-o", str(tmp_path / "x.navit"), "--lowerings", "padded"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    assert "family: siglip2, since config.json says model_type siglip2_vision_model" in done.stderr
    needed = ["config.json", TOWER, "model.safetensors.index.json", "preprocessor_config.json"]
    assert sorted(hub.downloaded) == sorted(needed)
    expected, found = (manifests.load(tmp_path / name) for name in ("local.navit", "x.navit"))
    assert (found.files, found.preprocess) == (expected.files, expected.preprocess)
    hashes = {f"sha256 of {n}": hashlib.sha256((repository / n).read_bytes()).hexdigest() for n in needed}
    assert found.created_by == {**expected.created_by, "weights": f"hf:{REPO}@{COMMIT}", **hashes}


def test_what_was_downloaded_once_is_read_from_the_cache_without_a_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (hub.folder / "preprocessor_config.json").unlink()
    first = import_checkpoint(Path(f"hf:{REPO}"))
    assert first.doubts == ()
    asked = list(hub.downloaded)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in (f"hf:{REPO}", f"hf:{REPO}@{COMMIT}"):
        again = import_checkpoint(Path(name))
        assert again.record == first.record
        assert again.doubts == ()  # the cache knows that the repository has no preprocessor_config.json
    assert hub.downloaded == asked
    with pytest.raises(
        InvalidInputError, match=r"hf:acme/tower@v1 is not in the cache .*HF_HUB_OFFLINE is set.*run `hf"
    ):
        open_hub_folder(f"hf:{REPO}@v1")


def test_if_the_hub_does_not_answer_the_cache_does_and_that_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = import_checkpoint(Path(f"hf:{REPO}")).record
    point_at("http://127.0.0.1:9", monkeypatch)  # the port of "discard", where nothing listens
    found = import_checkpoint(Path(f"hf:{REPO}"))
    assert found.record == expected
    (doubt,) = found.doubts
    assert "the Hub cannot be reached" in doubt
    assert f"is read from the cache, at commit {COMMIT[:12]}" in doubt
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(hub.folder / "empty"))
    with pytest.raises(InvalidInputError, match=r"is not in the cache .*the Hub cannot be reached.*expected a network"):
        open_hub_folder(f"hf:{REPO}")


def test_a_cache_that_somebody_else_wrote_is_enough_by_its_environment_variables(tmp_path: Path) -> None:
    snapshot = tmp_path / "home" / "hub" / "models--acme--tower" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    write_repository(snapshot)
    for name in (TEXT, "preprocessor_config.json"):
        (snapshot / name).unlink()
    (refs := snapshot.parent.parent / "refs").mkdir()
    (refs / "main").write_text(COMMIT)
    program = (
        "import sys; from navit_edge_export.families.registry import import_checkpoint as read;"
        f"found = read('hf:{REPO}'); print(found.family, found.record['weights'], *found.doubts)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE"))}
    environment = {**kept, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(f"siglip2 hf:{REPO}@{COMMIT} the cache of hf:{REPO} holds no "), done.stderr
    assert "holds no preprocessor_config.json, and does not say whether the repository has one" in done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:acme/other", "the Hub has no model acme/other, or it is private; check the name"),
        ("hf:acme/tower@v2", "acme/tower has no revision 'v2'; expected a branch, a tag or a commit"),
        ("hf:acme/gated", "hf:acme/gated is gated: .* log in with `hf auth login`"),
    ],
)
def test_a_model_that_cannot_be_had_is_told_why(hub: Hub, name: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        import_checkpoint(Path(name))


@pytest.mark.parametrize(
    "name",
    [
        "hf:", "hf:tower", "hf:../..", "hf:acme/..", "hf:acme/../x", "hf:/etc/passwd/x", "hf:acme/tower/config.json",
        "hf:acme/tower@", "hf:acme/tower@../x", "hf:acme/tower@/x", "hf:acme/tower@a//b", "hf:acme--x/tower",
        "hf:acme/tower@v1 ", "hf:acme/tower@a\n", "hf:acme/-tower", "hf:acme/tower@a?b", "hf:acme\\tower",
    ],
)  # fmt: skip
def test_a_name_that_is_none_is_refused_before_anything_is_asked(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"no model of the Hugging Face Hub; expected hf:ORG/NAME"):
        parse_name(name)


def test_names_may_have_slashes_in_front_and_revisions_with_slashes() -> None:
    assert str(parse_name("hf://Qwen/Qwen2.5-VL-3B-Instruct")) == "hf:Qwen/Qwen2.5-VL-3B-Instruct"
    assert str(parse_name(Path("hf://acme/tower@refs/pr/1"))) == "hf:acme/tower@refs/pr/1"


def test_pickle_is_never_downloaded(hub: Hub) -> None:
    for path in hub.folder.glob("*.safetensors*"):
        path.unlink()
    with pytest.raises(
        InvalidInputError, match=r"only files of pickle, which are never downloaded; expected a revision"
    ):
        import_checkpoint(Path(f"hf:{REPO}"))
    index = {"weight_map": {"vision_model.post_layernorm.weight": "pytorch_model.bin"}}
    (hub.folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InvalidInputError, match=r"asks for pytorch_model\.bin; expected safetensors"):
        import_checkpoint(Path(f"hf:{REPO}"), family="siglip2")
    assert "pytorch_model.bin" not in hub.downloaded


def test_an_index_cannot_name_files_outside_of_the_repository(hub: Hub) -> None:
    folder = HubFolder(parse_name(f"hf:{REPO}"))
    for name in ("../../secret.safetensors", "/etc/passwd", "a/b.safetensors"):
        with pytest.raises(InvalidInputError, match="asks for"):
            folder.get(name)
    (hub.folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../a.safetensors"}}')
    with pytest.raises(InvalidInputError, match="names no shards in its folder"):
        import_checkpoint(Path(f"hf:{REPO}"))


def test_a_shard_that_lacks_what_the_index_says_is_named(repository: Path) -> None:
    save_file({"other": torch.zeros(1)}, repository / TOWER)
    with pytest.raises(InvalidInputError, match=rf"index\.json says that .* lies in {TOWER}, which does not hold it"):
        import_checkpoint(repository)


def test_a_folder_needs_no_more_shards_than_those_of_the_tower(repository: Path) -> None:
    expected = import_checkpoint(repository).model.state_dict()
    (repository / TEXT).unlink()
    found = import_checkpoint(repository).model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_tokenizer_comes_along_if_it_is_asked_for(hub: Hub) -> None:
    (hub.folder / "tokenizer.json").write_text("{}")
    found = open_hub_folder(f"hf:{REPO}").gather("tokenizer.json", "tokenizer_config.json")
    assert [path.name for path in found.iterdir()] == ["tokenizer.json"]
    assert hub.downloaded == ["tokenizer.json"]

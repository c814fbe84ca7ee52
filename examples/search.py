"""Search in a folder of images, by an image or in words.

    python examples/search.py BUNDLE FOLDER --image QUERY.jpg
    python examples/search.py BUNDLE FOLDER --text "a red boat"       # of a bundle with a text tower (SigLIP2)

The first call embeds the folder into an index beside it, FOLDER.index. Later calls embed what is new and nothing else,
also after a crash: the index is the output of `navit-edge run --resume`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

import navit_edge as ne
from navit_edge.text_encoder import TextEncoder

Array = npt.NDArray[np.float32]


def build_index(bundle: Path, folder: Path, index: Path) -> None:
    """Embeds the images of the folder that the index does not have. One that cannot be read is a row of NaN."""
    command = ["run", bundle, folder, "--recursive", "-o", index, "--format", "numpy", "--save", "embedding"]
    finished = subprocess.run([sys.executable, "-m", "navit_edge", *map(str, command), "--resume"], check=False)
    if finished.returncode not in (0, 1) or not (index / "index.jsonl").is_file():  # 1: some images failed
        raise SystemExit(f"the folder could not be embedded: exit code {finished.returncode}")


def load_index(index: Path) -> tuple[list[str], Array]:
    """The files, and their embeddings [files, D] of length 1; files that could not be read are left out."""
    rows = [json.loads(line) for line in (index / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    embeddings = np.load(index / "embedding.npy", mmap_mode="r")[: len(rows)]
    there = [place for place, row in enumerate(rows) if "error" not in row]
    return [rows[place]["file"] for place in there], unit(embeddings[there])


def embed_image(bundle: Path, path: Path) -> Array:
    """[1, D]"""
    with ne.Session(bundle) as session:
        (result,) = session.run([path])
    if result.embedding is None:
        raise SystemExit(f"{bundle} gives no embedding; export it with --outputs embedding")
    return unit(result.embedding[None])


def unit(vectors: npt.NDArray[np.floating]) -> Array:
    """Of length 1, so that a product is a cosine."""
    given = np.asarray(vectors, np.float32)
    found: Array = given / np.linalg.norm(given, axis=1, keepdims=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--index", type=Path, help="FOLDER.index if not given")
    parser.add_argument("--top", type=int, default=5)
    query = parser.add_mutually_exclusive_group()
    query.add_argument("--image", type=Path)
    query.add_argument("--text")
    given = parser.parse_args()
    index = given.index or given.folder.with_name(given.folder.resolve().name + ".index")
    try:
        if given.text is not None:  # first, since it says at once if the bundle takes no words
            asked = unit(TextEncoder(given.bundle).embed([given.text]))
        elif given.image is not None:
            asked = embed_image(given.bundle, given.image)
    except ne.NavitEdgeError as error:
        raise SystemExit(str(error)) from None
    build_index(given.bundle, given.folder, index)
    files, embeddings = load_index(index)
    if given.text is None and given.image is None:
        print(f"{len(files)} images in {index}")
        return
    cosines = embeddings @ asked[0]
    for place in np.argsort(-cosines, kind="stable")[: given.top]:
        print(f"{cosines[place]:.3f}  {files[place]}")


if __name__ == "__main__":
    main()

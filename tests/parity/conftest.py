"""The graphs of a covering set of small models, each exported once a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from covering import OUTPUTS, Exported, Outputs, covering_configs
from onnx_sessions import open_graph

from navit_edge_export.model import NaViT
from navit_edge_export.onnx_export import export_bundle
from navit_edge_export.preprocess import Pack, prepare


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """These models are so small that threads cost more than they give."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session", params=sorted(covering_configs()))
def exported(request: pytest.FixtureRequest, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Exported:
    """One model of the covering set, exported."""
    model = NaViT(covering_configs()[request.param], seed=3).eval()
    folder = made_once(
        f"parity-{request.param}", lambda path: export_bundle(model, path / "model.navit", outputs=OUTPUTS)
    )
    bundle = folder / "model.navit"
    sessions = {lowering: open_graph(bundle / "graphs" / f"{lowering}.onnx") for lowering in ("masked", "padded")}
    return Exported(model=model, bundle=bundle, sessions=sessions)


@pytest.fixture(params=["masked", "padded"])
def lowering(request: pytest.FixtureRequest) -> str:
    """Each lowering."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def sized_photographs(photographs: Mapping[str, npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
    """Real photographs resized to between 6 and 96 tokens, no two grids alike; one is a single row of patches."""
    caps = (96, 24, 48, 30, 12, 64, 20, 6)
    images = [
        prepare(image, patch_px=16, max_tokens=cap) for image, cap in zip(photographs.values(), caps, strict=True)
    ]
    images.append(np.ascontiguousarray(images[0][:16]))
    assert len({image.shape for image in images}) == len(images)
    return images


@pytest.fixture(scope="session")
def per_image() -> Callable[[Outputs, Pack, int], Outputs]:
    """Cuts a pack's outputs to those of image n."""

    def cut(outputs: Outputs, packed: Pack, n: int) -> Outputs:
        own = packed.segment_ids == n
        return {name: value[own] if name == "tokens" else value[n : n + 1] for name, value in outputs.items()}

    return cut

"""Numbers of the engines of a bundle, on this machine: each image alone, packed, in another order, and against float32.

    python scripts/engine_checks.py BUNDLE --backend tensorrt --json FILE

For each engine of the backend: outputs are finite; an image gives the same numbers alone, packed and in another
order, within the engine's precision; the same run gives the same bits; changing one image changes no bit of another;
and, where a float32 engine of another backend runs here, outputs agree with its. What has no reference says so.

This stands in for `navit-edge verify` until that exists. Exit code 1 where a check fails.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import navit_edge as ne
from navit_edge.manifest import Engine, Manifest, find_engine

Images = list[npt.NDArray[np.uint8]]
Outputs = list[dict[str, npt.NDArray[np.float32]]]  # one dictionary an image: logits, embedding, tokens

#: Largest difference over the largest reference value that rounding may make. fp32 engines for GPUs keep attention in
#: 16 bits unless they were built with --strict.
LIMITS = {"fp32": 5e-3, "fp16": 2e-2, "bf16": 5e-2, "int8": 2e-1, "fp8": 2e-1}
LEAST_COSINE = 0.999
COUNT = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--backend", required=True)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    manifest = ne.load_manifest(arguments.bundle)
    engines = [engine for engine in manifest.engines if engine.backend == arguments.backend]
    groups = dict.fromkeys(engine.group.id for engine in engines if engine.group is not None)
    engines += [find_engine(manifest, group) for group in groups]
    if not engines:
        sys.exit(f"error: {arguments.bundle} holds no engine of {arguments.backend}; build one with build-engine")
    images = make_images(manifest)
    reference = float32_reference(arguments.bundle, manifest, arguments.backend, images)
    report = {}
    for engine in engines:
        try:
            report[engine.id] = examine(arguments.bundle, manifest, engine, images, reference)
        except ne.NavitEdgeError as error:
            report[engine.id] = {"failures": [" ".join(str(error).split())]}
    arguments.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    failed = [f"{name}: {line}" for name, one in report.items() for line in one["failures"]]
    for name, one in report.items():
        for key, value in one.items():
            if key != "failures":
                print(f"{name}: {key}: {f'{value:.2g}' if isinstance(value, float) and value < 0.1 else value}")
    if failed:
        sys.exit("error: " + "; ".join(failed))
    print(f"every check holds for {', '.join(report)}")


def make_images(manifest: Manifest) -> Images:
    """Random waves of colour in different sizes, uint8 [height_px, width_px, 3]: no two alike."""
    rng = np.random.default_rng(0)
    patch_px = manifest.preprocess.patch_px
    images = []
    for _ in range(COUNT):
        height, width = (int(rng.integers(2 * patch_px, 20 * patch_px)) for _ in range(2))
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        waves = [np.sin(y * rng.uniform(0, 0.2) + x * rng.uniform(0, 0.2) + rng.uniform(0, 6)) for _ in range(3)]
        noise = rng.normal(0, 8, (height, width, 3))
        images.append(np.clip(np.stack(waves, axis=-1) * 90 + 128 + noise, 0, 255).astype(np.uint8))
    return images


def outputs_of(results: Sequence[ne.Result]) -> Outputs:
    """Copies of what each image gave."""
    found: Outputs = []
    for result in results:
        values = {"logits": result.logits, "embedding": result.embedding, "tokens": result.tokens}
        found.append({name: np.array(value) for name, value in values.items() if value is not None})
    return found


def float32_reference(bundle: Path, manifest: Manifest, but: str, images: Images) -> tuple[str, Outputs] | None:
    """Each image alone on the first float32 engine of another backend that runs here."""
    for engine in manifest.engines:
        if engine.backend != but and engine.precision == "fp32":
            try:
                session = ne.Session(bundle, engine=engine.id)
            except ne.NavitEdgeError as error:
                print(f"no reference from {engine.id}: {error}")
                continue
            return engine.id, [outputs_of(session.run([image]))[0] for image in images]
    return None


def examine(
    bundle: Path, manifest: Manifest, engine: Engine, images: Images, reference: tuple[str, Outputs] | None
) -> dict[str, Any]:
    """Every check on one engine; ``failures`` lists in words what does not hold."""
    longest = engine.budgets[-1].tokens - manifest.model.prefix_tokens
    session = ne.Session(bundle, engine=engine.id, max_tokens_per_image=min(longest, 400))
    if reference is not None and longest < 400:
        reference = None  # the reference saw larger images
    limit = LIMITS.get(engine.precision, 5e-2)
    alone = [outputs_of(session.run([image]))[0] for image in images]
    packed = outputs_of(session.run(images))
    images_per_pack = max(pack["images"] for pack in session.last_report["packs"])
    backwards = outputs_of(session.run(images[::-1]))[::-1]
    again = outputs_of(session.run(images))
    changed = outputs_of(session.run([255 - images[0], *images[1:]]))

    failures = []
    if not all(np.isfinite(value).all() for one in (*alone, *packed) for value in one.values()):
        return {"device": session.device, "failures": ["an output is not finite"]}  # nothing else can be told
    if images_per_pack < 2 and engine.budgets[-1].images > 1:
        failures.append("nothing was packed together")
    found: dict[str, Any] = {"device": session.device, "images": len(images), "most images in a pack": images_per_pack}
    for name, other in (("packed against alone", packed), ("another order against alone", backwards)):
        found[name] = largest_difference(other, alone)
        if not found[name] <= limit:
            failures.append(f"{name}: {found[name]:.2e} of the largest value; at most {limit:g} in {engine.precision}")
    found["the same run twice, same bits"] = same_bits(packed, again)
    found["others unchanged by one changed image, same bits"] = same_bits(packed[1:], changed[1:])
    failures += [f"{name}: no" for name, value in found.items() if value is False]
    if same_bits(packed[:1], changed[:1]):
        failures.append("another image gave the same outputs")
    if reference is None:
        found["against float32"] = "not compared: no float32 engine of another backend runs here"
    else:
        found["against float32"] = (
            f"{largest_difference(alone, reference[1]):.2e} of the largest value ({reference[0]})"
        )
        found["least cosine to float32"] = cosine = least_cosine(alone, reference[1])
        if not cosine >= LEAST_COSINE:
            failures.append(f"least cosine to {reference[0]} is {cosine:.5f}; expected {LEAST_COSINE} at least")
    return {**found, "failures": failures}


def largest_difference(ours: Outputs, theirs: Outputs) -> float:
    """Over all outputs: the largest difference, over the largest value of that output in ``theirs``."""
    largest = 0.0
    for name in theirs[0]:
        scale = max(float(np.abs(one[name]).max()) for one in theirs)
        difference = max(float(np.abs(a[name] - b[name]).max()) for a, b in zip(ours, theirs, strict=True))
        largest = max(largest, difference / scale)
    return largest


def least_cosine(ours: Outputs, theirs: Outputs) -> float:
    """Over images and outputs, each taken as one vector."""
    cosines = []
    for a, b in zip(ours, theirs, strict=True):
        for name in b:
            one, other = (value[name].astype(np.float64).ravel() for value in (a, b))
            cosines.append(float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other))))
    return min(cosines)


def same_bits(ours: Outputs, theirs: Outputs) -> bool:
    """Whether all outputs are equal, bit by bit."""
    return all(a[name].tobytes() == b[name].tobytes() for a, b in zip(ours, theirs, strict=True) for name in b)


if __name__ == "__main__":
    main()

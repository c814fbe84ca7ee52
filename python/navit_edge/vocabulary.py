"""The words of options and manifests, each said once: as a type for who writes it, as a tuple for who checks it.

The C++ reader knows the same words (csrc/include/navit_edge/vocabulary.h).
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

# --- preprocessing --------------------------------------------------------------------------------------------------

#: Of the resize, as Pillow computes them.
Filter: TypeAlias = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
FILTERS: tuple[Filter, ...] = get_args(Filter)

#: Whose image processor's pixels they are, bit for bit: timm's are those of Pillow, with which it resizes.
Processor: TypeAlias = Literal["pillow", "torchvision", "timm"]
PROCESSORS: tuple[Processor, ...] = get_args(Processor)
#: The filters that each has.
PROCESSOR_FILTERS: dict[Processor, tuple[Filter, ...]] = {
    "pillow": FILTERS,
    "torchvision": ("bilinear", "bicubic"),
    "timm": FILTERS,
}

#: What becomes of an alpha channel: dropped, laid over a background, or refused.
AlphaRule: TypeAlias = Literal["drop", "composite", "reject"]
ALPHA_RULES: tuple[AlphaRule, ...] = get_args(AlphaRule)

#: Whether image files are turned upright by their EXIF or container, or only as their decoder does by itself.
Orientation: TypeAlias = Literal["apply", "as-decoded"]
ORIENTATIONS: tuple[Orientation, ...] = get_args(Orientation)

#: Whether image files with a colour profile are converted to sRGB.
Icc: TypeAlias = Literal["ignore", "srgb"]
ICC_RULES: tuple[Icc, ...] = get_args(Icc)

#: How JPEG files that are made smaller are decoded: all of their pixels, or as few frequencies as give at least twice
#: the target's sides.
Decode: TypeAlias = Literal["exact", "scaled"]
DECODES: tuple[Decode, ...] = get_args(Decode)

#: Which axis of an array or a tensor holds the channels: the last, or the first.
Layout: TypeAlias = Literal["hwc", "chw"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

#: RGB behind transparent pixels, wherever nobody names another colour.
WHITE = (255, 255, 255)

#: Which grid an image gets (docs/preprocessing.md), and what "native" does with an image of no whole patches.
Rule: TypeAlias = Literal[
    "token-cap", "native", "naflex", "smart-resize", "longest-side", "fixed", "patch-budget", "navit-resize"
]
Fit: TypeAlias = Literal["resize", "pad", "crop"]
FITS: tuple[Fit, ...] = get_args(Fit)

#: What "smart-resize" does first with images that have a side below a cell.
Enlarge: TypeAlias = Literal["off", "floor", "nearest"]
ENLARGEMENTS: tuple[Enlarge, ...] = get_args(Enlarge)

# --- engines --------------------------------------------------------------------------------------------------------

#: How attention is kept within each image (docs/model.md).
Lowering: TypeAlias = Literal["masked", "padded", "packed"]
LOWERINGS: tuple[Lowering, ...] = get_args(Lowering)

#: What an engine's trunk computes in. int8 and fp8 need a graph with Q/DQ, which `navit-edge quantize` makes.
Precision: TypeAlias = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
FLOATS: tuple[Precision, ...] = ("fp32", "fp16", "bf16")
QUANTIZED: tuple[Precision, ...] = ("int8", "fp8")

Backend: TypeAlias = Literal["openvino", "tensorrt", "tensorrt-rtx"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

# --- outputs --------------------------------------------------------------------------------------------------------

#: Of graphs (docs/model.md): the first two have a row for each image, the others for its patches.
Output: TypeAlias = Literal["logits", "embedding", "tokens", "projected", "deepstack", "attention_map"]
OUTPUTS: tuple[Output, ...] = get_args(Output)

#: ``model.config["attention_map"]`` of a bundle whose attention map is that of all layers: saliency.
ROLLOUT = "rollout"

#: What the score of a class is: the softmax of all logits, or the sigmoid of its own.
Scores: TypeAlias = Literal["softmax", "sigmoid"]
SCORES: tuple[Scores, ...] = get_args(Scores)

# --- evaluation -----------------------------------------------------------------------------------------------------

#: How an output becomes a class: the bundle's own logits; neighbours or a linear probe in embeddings of training
#: images; the nearest other image of the data; the nearest text.
Head: TypeAlias = Literal["auto", "classifier", "knn", "linear", "retrieval", "zero-shot"]
HEADS: tuple[Head, ...] = get_args(Head)

# --- sessions -------------------------------------------------------------------------------------------------------

#: "auto": a GPU if an engine can use one, else the CPU.
Device: TypeAlias = Literal["auto", "cpu", "gpu", "npu"]
#: Engines of that precision only.
EnginePrecision: TypeAlias = Literal["auto", "fp32", "fp16", "bf16", "int8", "fp8"]

#: What becomes of an image that is longer than every token budget.
Overflow: TypeAlias = Literal["error", "downscale", "split"]

#: What a full stream does.
Drop: TypeAlias = Literal["block", "drop-oldest", "drop-newest"]
DROPS: tuple[Drop, ...] = get_args(Drop)

#: Whether an image that cannot be run raises, or has its error in its place among the results.
OnError: TypeAlias = Literal["raise", "return"]

#: How images are packed (csrc/include/navit_edge/vocabulary.h).
Strategy: TypeAlias = Literal[
    "auto", "fifo", "first-fit", "best-fit", "first-fit-decreasing", "best-fit-decreasing", "similar-length"
]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

#: What attention costs: N * L^2, the sum of l^2, or T^2 (docs/planning.md).
AttentionCost: TypeAlias = Literal["padded", "segments", "whole"]

# --- tuning ---------------------------------------------------------------------------------------------------------

#: What a profile has a recommendation for (docs/tune.md).
Use: TypeAlias = Literal["fast", "balanced", "best"]
USES: tuple[Use, ...] = get_args(Use)

#: What `navit-edge tune` compares settings by: the time of one image alone, or of many given at once.
Aim: TypeAlias = Literal["latency", "throughput"]

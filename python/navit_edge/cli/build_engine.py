"""`navit-edge build-engine`: bundle to engines in the bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from navit_edge.cli.build_output import BuildProgress, print_engines, print_plan
from navit_edge.cli.byte_sizes import bytes_of
from navit_edge.cli.common import DebugOption, JsonOption, command, err_console, make_progress
from navit_edge.errors import InvalidInputError

_GPU = "TensorRT"
_COMPILER = "TensorRT's compiler (as trtexec)"


@command
def build_engine(
    bundle: Annotated[Path, typer.Argument(help="Bundle made by export.", metavar="BUNDLE", show_default=False)],
    backend: Annotated[
        str,
        typer.Option(
            help="openvino (CPU), tensorrt-rtx (RTX cards, built without a GPU) or tensorrt (this GPU).", metavar="NAME"
        ),
    ] = "openvino",
    token_budgets: Annotated[
        str | None,
        typer.Option(
            help="Largest number of tokens in a pack; for TensorRT, one optimization profile each.",
            show_default="16384 for openvino, else 256,1024,4096",
            metavar="LIST",
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            help="OpenVINO: the largest budget that keeps a process of one session under this much memory, as 512MiB "
            "(navit-edge docs memory).",
            metavar="SIZE",
            show_default="no limit",
        ),
    ] = None,
    max_images: Annotated[
        str | None,
        typer.Option(
            help="Largest number of images in a pack: one number, or one per budget.",
            show_default="1024 for openvino, else tokens / 32, at most 256",
            metavar="LIST",
        ),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Any of fp32, fp16, bf16, int8, fp8: one engine each, best first. Run quantize for int8 or fp8.",
            show_default="bf16 and fp32 for openvino, else bf16; fp16 for sm75",
            metavar="LIST",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="GPUs for tensorrt-rtx: sm75, sm80, sm86, sm89, sm120, sm121, or native for the GPU of this machine.",
            show_default="sm86,sm89,sm120; else this machine",
            metavar="LIST",
        ),
    ] = None,
    lowering: Annotated[
        str,
        typer.Option(
            help="Form of attention: auto, masked, padded (openvino) or packed (if TensorRT has the kernel).",
            metavar="NAME",
        ),
    ] = "auto",
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Build again even if the bundle has the engine already.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", metavar="", help="Show engines, shapes, precisions and keys; build nothing."),
    ] = False,
    as_json: JsonOption = False,
    engine_per_budget: Annotated[
        bool,
        typer.Option(
            "--engine-per-budget",
            metavar="",
            help="Build one engine per budget instead of one for all; always so for TensorRT 10.3 to 10.7.",
            rich_help_panel=_GPU,
        ),
    ] = False,
    fp32_trunk: Annotated[
        bool,
        typer.Option(
            "--fp32-trunk",
            metavar="",
            help="With fp16 or bf16: only attention in 16 bits, the rest float32. For checkpoints that lose accuracy.",
            rich_help_panel=_GPU,
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            metavar="",
            help="With fp32: attention in float32 too. It is not fused, so memory grows with tokens squared.",
            rich_help_panel=_GPU,
        ),
    ] = False,
    require_fused: Annotated[
        bool,
        typer.Option(
            "--require-fused",
            metavar="",
            help="Fail unless a second build proves that activation memory is linear in the tokens.",
            rich_help_panel=_GPU,
        ),
    ] = False,
    timing_cache: Annotated[
        Path | None,
        typer.Option(
            help="Read kernel timings from FILE and write them back; tensorrt only.",
            metavar="FILE",
            show_default=False,
            rich_help_panel=_COMPILER,
        ),
    ] = None,
    builder_optimization_level: Annotated[
        int | None,
        typer.Option(
            help="0 (fast build) to 5 (fast engine).",
            metavar="N",
            show_default="the library's, 3",
            rich_help_panel=_COMPILER,
        ),
    ] = None,
    workspace: Annotated[
        str | None,
        typer.Option(
            help="Limit of scratch memory: 512M, 2G, or a number of MiB.",
            metavar="SIZE",
            show_default="all of the device",
            rich_help_panel=_COMPILER,
        ),
    ] = None,
    max_aux_streams: Annotated[
        int | None,
        typer.Option(
            help="Extra CUDA streams inside the engine; each costs memory.",
            metavar="N",
            show_default="0",
            rich_help_panel=_COMPILER,
        ),
    ] = None,
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible",
            metavar="",
            help="Let the engine run under later versions too, with the device's lean runtime.",
            rich_help_panel=_COMPILER,
        ),
    ] = False,
    hardware_compatibility_level: Annotated[
        str,
        typer.Option(
            help="none, ampere+ or sameComputeCapability; tensorrt only. For tensorrt-rtx give several targets.",
            metavar="LEVEL",
            rich_help_panel=_COMPILER,
        ),
    ] = "none",
    profiling_verbosity: Annotated[
        str | None,
        typer.Option(
            help="What the engine says about its layers: none, layer_names_only or detailed.",
            metavar="LEVEL",
            show_default="layer_names_only",
            rich_help_panel=_COMPILER,
        ),
    ] = None,
    strip_plan: Annotated[
        bool,
        typer.Option(
            "--strip-plan",
            metavar="",
            help="Leave the weights out. You must refit the engine before it runs. Needs the GPU.",
            rich_help_panel=_COMPILER,
        ),
    ] = False,
    debug: DebugOption = False,
) -> None:
    """Build engines from a bundle's graphs and add them to the bundle.

    Needs no torch and, for openvino and tensorrt-rtx, no GPU. If the bundle
    already has an engine of the same graph, options and versions, it is not
    built again. Ctrl-C leaves the bundle as it was.
    """
    from navit_edge.compile import BuildRequest, CompilerOptions, build_engines
    from navit_edge.compile.compiler_options import parse_size
    from navit_edge.compile.dry_run import describe
    from navit_edge.compile.request import parse_numbers, parse_words

    try:
        request = BuildRequest(
            backend=backend,
            token_budgets=() if token_budgets is None else parse_numbers(token_budgets, what="token budgets"),
            max_images=() if max_images is None else parse_numbers(max_images, what="max images"),
            precision=() if precision is None else parse_words(precision),
            targets=() if target is None else parse_words(target),
            lowering=lowering,
            memory_bytes=0 if memory is None else bytes_of(memory, "--memory"),
            force=force,
            engine_per_budget=engine_per_budget,
            strict=strict,
            fp32_trunk=fp32_trunk,
            require_fused=require_fused,
            timing_cache=timing_cache,
            compiler=CompilerOptions(
                optimization_level=builder_optimization_level,
                workspace_bytes=None if workspace is None else parse_size(workspace),
                max_aux_streams=max_aux_streams,
                version_compatible=version_compatible,
                hardware_compatibility=hardware_compatibility_level,
                profiling_verbosity=profiling_verbosity,
                strip_plan=strip_plan,
            ),
        )
    except InvalidInputError as error:
        raise typer.BadParameter(str(error)) from error

    if dry_run:
        plan: list[dict[str, Any]] = describe(bundle, request)
        print_plan(plan, as_json=as_json)
        return
    console = err_console()
    with make_progress(console) as progress:
        engines = build_engines(bundle, request, BuildProgress(console, progress))
    print_engines(bundle, engines, as_json=as_json)

"""Step "packing": does it pay to run images of any size as one pack, and what does a pack cost?

Transformer blocks with random weights on random tokens, in five forms of attention that give the same numbers:

    masked   one pass over the pack, T x T attention under a mask (scaled_dot_product_attention)
    flex     one pass, FlexAttention compiled for the pack's documents
    varlen   one pass, variable-length flash attention over cumulative lengths
    padded   a batch, every image padded to the longest
    alone    one image after another

They are PyTorch's kernels, not TensorRT's: what is shown is the order of forms on this device, and the size of the
terms of the planner's cost model, fixed + tokens + scores (docs/planning.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from navit_edge.bench.calibration import non_negative_least_squares
from proof.results import Results
from proof.settings import Settings
from proof.timing import captured, median_us

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
#: Tokens of the packs that FlexAttention is compiled for, and of those that rehearse it; a quick rehearsal has none of
#: them: importing what it needs takes longer than all the rest.
FLEX_TOKENS, FLEX_REHEARSED = (1024, 8192), (256,)
FORMS = ("masked", "varlen", "padded", "alone", "flex")
#: The planner's cost model may be so far off the packs that it was fitted to, in the mean, in forms that run a pack as
#: the engines do: the time of "alone" follows the count of images, which the model does not have. The times of a
#: rehearsal mean nothing: there the fit is only to be better than none, which is off by 1.
MOST_MISFIT = {"cuda": 0.5, "cpu": 1.0}
AS_ENGINES_DO = ("masked", "varlen")
LEAST_PACKS = 4  # that a fit takes
#: Of the worst token's difference from "alone", in the type that is timed. Attention to a wrong token changes more.
MOST_APART = {torch.float32: 1e-4, torch.bfloat16: 0.1}


@dataclass(frozen=True, kw_only=True)
class Size:
    """A transformer's."""

    name: str
    width: int
    depth: int
    heads: int
    mlp_width: int


TINY = Size(name="tiny", width=64, depth=2, heads=4, mlp_width=128)
SIZES = (
    Size(name="S/16", width=384, depth=12, heads=6, mlp_width=1536),
    Size(name="B/16", width=768, depth=12, heads=12, mlp_width=3072),
    Size(name="SO400M-like", width=1152, depth=27, heads=16, mlp_width=4304),
)


@dataclass(frozen=True, kw_only=True)
class Load:
    """Images of one pack. lengths: tokens of each."""

    name: str
    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return sum(self.lengths)

    def scores(self, form: str) -> tuple[int, int]:
        """(tokens, scores of one head) that a form computes."""
        count, longest = len(self.lengths), max(self.lengths)
        if form == "padded":
            return count * longest, count * longest**2
        squares = sum(length**2 for length in self.lengths)
        return self.tokens, self.tokens**2 if form == "masked" else squares


def loads(totals: Sequence[int], *, uniform_total: int, uniform: Sequence[int]) -> list[Load]:
    """Mixed images for each total of tokens, and images of one size for one total."""
    found = []
    for total in totals:
        generator, lengths = np.random.default_rng(total), list[int]()
        longest = min(10.0, math.log2(total / 2))  # at least two images
        while sum(lengths) < total:
            lengths.append(min(int(2 ** generator.uniform(4, longest)), total - sum(lengths)))
        found.append(Load(name=f"mixed {total}", lengths=tuple(lengths)))
    return found + [
        Load(name=f"{uniform_total // side} x {side}", lengths=(side,) * (uniform_total // side)) for side in uniform
    ]


class Blocks:
    """Pre-norm transformer blocks."""

    def __init__(self, size: Size, *, device: str, dtype: torch.dtype) -> None:
        generator = torch.Generator(device).manual_seed(0)

        def weight(rows: int, columns: int) -> Tensor:
            made: Tensor = torch.randn(rows, columns, generator=generator, device=device) * float(columns) ** -0.5
            return made.to(dtype)

        self.size, self.device, self.dtype = size, device, dtype
        d, m = size.width, size.mlp_width
        self._layers = [(weight(3 * d, d), weight(d, d), weight(m, d), weight(d, m)) for _ in range(size.depth)]

    def run(self, x: Tensor, attend: Attend) -> Tensor:
        """x [..., T, D] -> the same; ``attend`` takes queries, keys and values [..., T, H, dh]."""
        heads, width = self.size.heads, (self.size.width,)
        for qkv, out, up, down in self._layers:
            mixed = functional.linear(functional.layer_norm(x, width), qkv)
            q, k, v = mixed.view(*mixed.shape[:-1], 3, heads, -1).unbind(-3)
            x = x + functional.linear(attend(q, k, v).flatten(-2), out)
            x = x + functional.linear(functional.gelu(functional.linear(functional.layer_norm(x, width), up)), down)
        return x

    def flops(self, tokens: int, scores: int) -> float:
        """Of the products of a pass: 2 for each multiplication."""
        d = self.size.width
        return 2.0 * self.size.depth * (tokens * (4 * d * d + 2 * d * self.size.mlp_width) + 2 * scores * d)


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Of [..., T, H, dh]."""
    q, k, v = (one.transpose(-2, -3) for one in (q, k, v))
    mixed: Tensor = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.transpose(-2, -3)


def form_of(form: str, blocks: Blocks, load: Load, x: Tensor) -> tuple[Callable[[], Tensor], str]:
    """A call that gives [T, D] for x [T, D], and the kernel's name."""
    device, lengths = blocks.device, load.lengths
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(device)
    if form == "alone":
        parts = list(torch.split(x, list(lengths)))
        return lambda: torch.cat([blocks.run(part[None], dense)[0] for part in parts]), "scaled_dot_product_attention"
    if form == "masked":
        mask = (owner[:, None] == owner[None, :])[None, None]
        return lambda: blocks.run(x[None], lambda q, k, v: dense(q, k, v, mask))[0], "scaled_dot_product_attention"
    if form == "padded":
        present = torch.arange(max(lengths), device=device)[None] < torch.tensor(lengths, device=device)[:, None]
        rows = present.flatten().nonzero()[:, 0]
        keys = present[:, None, None, :] if len(set(lengths)) > 1 else None

        def padded() -> Tensor:
            batch = x.new_zeros(present.numel(), x.shape[1]).index_copy(0, rows, x).view(*present.shape, -1)
            return blocks.run(batch, lambda q, k, v: dense(q, k, v, keys)).flatten(0, 1).index_select(0, rows)

        return padded, "scaled_dot_product_attention"
    if form == "varlen":
        return _varlen(blocks, load, x)
    return _flex(blocks, owner, x)


def _varlen(blocks: Blocks, load: Load, x: Tensor) -> tuple[Callable[[], Tensor], str]:
    if blocks.device != "cuda":  # the kernel is for GPUs; the rehearsal attends to one image after another
        splits = list(load.lengths)

        def each(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            parts = zip(*(torch.split(one, splits) for one in (q, k, v)), strict=True)
            return torch.cat([dense(a[None], b[None], c[None])[0] for a, b, c in parts])

        return lambda: blocks.run(x, each), "scaled_dot_product_attention, image by image, in place of varlen_attn"
    from torch.nn.attention.varlen import varlen_attn

    ends = torch.tensor([0, *np.cumsum(load.lengths)], dtype=torch.int32, device="cuda")
    longest = max(load.lengths)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        made = varlen_attn(q.contiguous(), k.contiguous(), v.contiguous(), ends, ends, longest, longest)
        return made if isinstance(made, Tensor) else made[0]

    return lambda: blocks.run(x, attend), "torch.nn.attention.varlen.varlen_attn"


def _flex(blocks: Blocks, owner: Tensor, x: Tensor) -> tuple[Callable[[], Tensor], str]:
    from torch.nn.attention import flex_attention as module

    create_block_mask, flex_attention = module.create_block_mask, module.flex_attention
    compiled: Any = torch.compile(flex_attention) if blocks.device == "cuda" else flex_attention
    if blocks.device != "cuda":  # a rehearsal calls the operator as it is, and traces nothing
        module._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True  # older versions do not read it
    tokens = len(owner)
    mask = create_block_mask(
        lambda _b, _h, q, k: owner[q] == owner[k], None, None, tokens, tokens, device=blocks.device
    )

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        heads = (one.transpose(-2, -3).contiguous() for one in (q, k, v))
        made: Tensor = compiled(*heads, block_mask=mask)
        return made.transpose(-2, -3)

    return lambda: blocks.run(x[None], attend)[0], "flex_attention" + (", compiled" if blocks.device == "cuda" else "")


def run(settings: Settings, results: Results) -> None:
    """Every form of every load of every size, the most telling first; what time does not suffice for is left out."""
    cuda = settings.device == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    if cuda:
        sizes: tuple[Size, ...] = SIZES
        rounds = 15
        work = loads((8192, 1024, 4096, 256, 64, 2048), uniform_total=8192, uniform=(256, 64, 1024))
    else:
        sizes, rounds = (TINY,), 2 if settings.quick else 9
        totals = (96, 192, 48) if settings.quick else (512, 128, 256, 1024, 64)
        work = loads(totals, uniform_total=totals[0], uniform=(16,) if settings.quick else (64, 16))
    results.put("dtype", str(dtype).removeprefix("torch."))
    peak = _peak(settings.device, dtype, 8192 if cuda else 256, rounds)
    results.put("peak_tflops", peak)
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    with torch.inference_mode():
        for size in sizes:
            blocks = Blocks(size, device=settings.device, dtype=dtype)
            for load in work:
                if not results.has_time():
                    left_out.append(f"{size.name}, {load.name}")
                    continue
                rows += _measure(blocks, load, rounds=rounds, results=results)
                results.put("rows", rows)
            del blocks
    results.put("left_out", left_out)
    costs = _costs(rows)
    results.put("costs", costs)
    judge_costs(costs, settings.device, results)
    due = set(FORMS) - ({"flex"} if settings.quick else set())
    results.check("every form was measured at least once", {row["form"] for row in rows if "us" in row} == due)


def _measure(blocks: Blocks, load: Load, *, rounds: int, results: Results) -> list[dict[str, Any]]:
    generator = torch.Generator(blocks.device).manual_seed(1)
    x = torch.randn(load.tokens, blocks.size.width, generator=generator, device=blocks.device).to(blocks.dtype)
    expected = form_of("alone", blocks, load, x)[0]()
    rows = []
    for form in FORMS:
        if form == "flex" and load.tokens not in (FLEX_TOKENS if blocks.device == "cuda" else FLEX_REHEARSED):
            continue  # each shape is compiled anew
        tokens, scores = load.scores(form)
        row: dict[str, Any] = {
            "size": blocks.size.name, "load": load.name, "images": len(load.lengths), "tokens": load.tokens,
            "form": form, "computed_tokens": tokens, "scores": scores,
        }  # fmt: skip
        rows.append(row)
        try:
            call, row["kernel"] = form_of(form, blocks, load, x)
            apart = worst_token(call(), expected)
            what = f"{blocks.size.name}, {load.name}, {form}: as alone"
            results.check(what, apart, most=MOST_APART[blocks.dtype])
            row["us"] = median_us(call, blocks.device, rounds=rounds)
            row["tflops"] = blocks.flops(load.tokens, load.scores("varlen")[1]) / row["us"] / 1e6  # of useful work
        except Exception as error:  # one form that a device has not takes no other away
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        if blocks.device != "cuda":
            row["cuda_graph"] = "left out: no CUDA"
            continue
        try:
            row["graph_us"] = median_us(captured(call), blocks.device, rounds=rounds)
        except Exception as error:
            torch.cuda.synchronize()
            row["cuda_graph"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return rows


def worst_token(found: Tensor, expected: Tensor) -> float:
    """Of [T, D]: the largest length of a row's difference over the length of the row."""
    apart = (found.double() - expected.double()).norm(dim=-1) / expected.double().norm(dim=-1)
    return float(apart.max().item())


def _peak(device: str, dtype: torch.dtype, side: int, rounds: int) -> float:
    """TFLOP/s of a square product."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2.0 * side**3 / median_us(lambda: a @ b, device, rounds=rounds) / 1e6


def judge_costs(costs: dict[str, Any], device: str, results: Results) -> None:
    """The planner's coefficients: every form but flex, which is compiled for few packs, has some that fit."""
    fitted = {name.split(", ")[1] for name in costs}
    results.check("forms without coefficients of the cost model", len(set(FORMS) - fitted - {"flex"}), most=0)
    for name, cost in costs.items():
        if name.split(", ")[1] in AS_ENGINES_DO:
            results.check(f"{name}: mean error of the cost model", cost["mean_error"], most=MOST_MISFIT[device])
        terms = [cost[term] for term in ("fixed_us", "us_per_token", "us_per_score")]
        results.check(f"{name}: the least coefficient", min(terms), least=0.0)
        results.check(f"{name}: not all of them are 0", max(terms) > 0)


def _costs(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Fixed time, time of a token and of a score, fitted for each size and form that was measured often enough."""
    found: dict[str, Any] = {}
    for size, form in sorted({(row["size"], row["form"]) for row in rows}):
        for key in ("us", "graph_us"):
            some = [row for row in rows if (row["size"], row["form"]) == (size, form) and key in row]
            if len(some) < LEAST_PACKS:
                continue
            columns = [np.array([row[name] for row in some], float) for name in ("computed_tokens", "scores")]
            times = np.array([row[key] for row in some])
            fixed, token, score = non_negative_least_squares([np.ones(len(some)), *columns], times)
            predicted = fixed + token * columns[0] + score * columns[1]
            found[f"{size}, {form}, {key}"] = {
                "fixed_us": fixed, "us_per_token": token, "us_per_score": score, "packs": len(some),
                "mean_error": float(np.mean(np.abs(predicted / times - 1))),
            }  # fmt: skip
    return found

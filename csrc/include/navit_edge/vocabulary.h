// The words of manifests and options: an enum for each, and what its values are called. Spelled here and nowhere else.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "navit_edge/cxx20.h"
#include "navit_edge/image.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// What messages call an enum, the words for its values in their order, and the value of the first.
template <std::size_t n>
struct Words {
  std::string_view what;
  std::array<std::string_view, n> words;
  std::int32_t first = 0;
};
template <class Enum>
inline constexpr Words<0> kWords{};

template <>
inline constexpr Words<5> kWords<DType>{"dtype", {"float32", "float16", "bfloat16", "uint8", "int32"}, 1};

template <>
inline constexpr Words<9> kWords<PixelFormat>{
    "format", {"gray", "rgb", "bgr", "rgbx", "bgrx", "rgba", "bgra", "nv12", "i420"}, 1};
template <>
inline constexpr Words<2> kWords<YuvMatrix>{"matrix", {"bt601", "bt709"}};
template <>
inline constexpr Words<2> kWords<YuvRange>{"range", {"limited", "full"}};

/// How pixels are resized, as Pillow's filter of that name computes it.
enum class Filter : std::int32_t { kNearest, kBox, kBilinear, kHamming, kBicubic, kLanczos };
template <>
inline constexpr Words<6> kWords<Filter>{"filter", {"nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"}};

/// Whose image processor's pixels they are, bit for bit (docs/preprocessing.md).
enum class Processor : std::int32_t {
  kPillow,
  kTorchvision,  // torch's antialiased interpolation of 8-bit pixels, which torchvision runs
  kTimm,         // timm's transforms, which resize with Pillow: the bytes of kPillow
};
template <>
inline constexpr Words<3> kWords<Processor>{"processor", {"pillow", "torchvision", "timm"}};

/// Whether the processor has the filter.
[[nodiscard]] constexpr bool has_filter(Processor processor, Filter filter) noexcept {
  return processor != Processor::kTorchvision || filter == Filter::kBilinear || filter == Filter::kBicubic;
}

/// What becomes of an alpha channel.
enum class Alpha : std::int32_t { kDrop, kComposite, kReject };
template <>
inline constexpr Words<3> kWords<Alpha>{"alpha", {"drop", "composite", "reject"}};

/// How an image comes onto its grid: resized, or moved there and padded or cropped.
enum class Fit : std::int32_t { kResize, kPad, kCrop };
template <>
inline constexpr Words<3> kWords<Fit>{"fit", {"resize", "pad", "crop"}};

/// What happens first to an image with a side below a cell: nothing, or that side becomes a cell and the other keeps
/// the aspect, rounded down or to the nearest.
enum class Enlarge : std::int32_t { kOff, kFloor, kNearest };
template <>
inline constexpr Words<3> kWords<Enlarge>{"enlarge", {"off", "floor", "nearest"}};

/// Whether a decoder turns an image upright, by EXIF or its container.
enum class Orientation : std::int32_t { kApply, kAsDecoded };
template <>
inline constexpr Words<2> kWords<Orientation>{"orientation", {"apply", "as-decoded"}};

/// Whether a decoder converts colours by the embedded ICC profile.
enum class Icc : std::int32_t { kIgnore, kSrgb };
template <>
inline constexpr Words<2> kWords<Icc>{"icc", {"ignore", "srgb"}};

/// How a JPEG file that will be made smaller is decoded: all of its pixels, or as few of its frequencies as give at
/// least twice the target's sides (docs/inputs.md).
enum class Decode : std::int32_t { kExact, kScaled };
template <>
inline constexpr Words<2> kWords<Decode>{"decode", {"exact", "scaled"}};

/// How attention over packs is written in a graph (docs/model.md).
enum class Lowering : std::int32_t { kMasked, kPadded, kPacked };
template <>
inline constexpr Words<3> kWords<Lowering>{"lowering", {"masked", "padded", "packed"}};

/// By what the tokens that merge are chosen (docs/tokens.md).
enum class MergeMethod : std::int32_t { kTome, kPitome };
template <>
inline constexpr Words<2> kWords<MergeMethod>{"method", {"tome", "pitome"}};

enum class Quantization : std::int32_t { kNone, kInt8, kFp8 };
template <>
inline constexpr Words<3> kWords<Quantization>{"quantization", {"none", "int8", "fp8"}};

enum class Precision : std::int32_t { kFp32, kFp16, kBf16, kInt8, kFp8 };
template <>
inline constexpr Words<5> kWords<Precision>{"precision", {"fp32", "fp16", "bf16", "int8", "fp8"}};

enum class DeviceKind : std::int32_t { kCpu, kGpu, kNpu };
template <>
inline constexpr Words<3> kWords<DeviceKind>{"device", {"cpu", "gpu", "npu"}};

/// What becomes of an image that is longer than every budget.
enum class Overflow : std::int32_t {
  kError,      // its result carries OverBudget
  kDownscale,  // it is resized to the largest grid that fits, and its result says so
  kSplit,      // refused when a session opens: no model allows it yet
};
template <>
inline constexpr Words<3> kWords<Overflow>{"overflow", {"error", "downscale", "split"}};

/// Which images share a pack (docs/planning.md).
enum class Strategy : std::int32_t {
  kAuto,                // the least predicted time of the others, and of splits of its own
  kFifo,                // in the order given; a pack is closed by the first image that does not fit
  kFirstFit,            // in the order given, into the first pack with room
  kBestFit,             // in the order given, into the pack with the least room that suffices
  kFirstFitDecreasing,  // the longest image first
  kBestFitDecreasing,
  kSimilarLength,  // the longest first, each pack filled before the next: for attention that pads within a pack
};
template <>
inline constexpr Words<7> kWords<Strategy>{
    "strategy",
    {"auto", "fifo", "first-fit", "best-fit", "first-fit-decreasing", "best-fit-decreasing", "similar-length"}};

/// Which products of queries and keys a pack computes: S in the formula of cost.h.
enum class AttentionCost : std::int32_t {
  kPadded,    // N * L^2: every image as long as the longest
  kSegments,  // the sum of l^2: every image as long as it is (packed; masked if foreign tiles are skipped)
  kWhole,     // T^2: every token with every other
};
template <>
inline constexpr Words<3> kWords<AttentionCost>{"attention", {"padded", "segments", "whole"}};

/// The inputs and outputs of graphs (docs/model.md).
enum class GraphInput : std::int32_t {
  kPatches,
  kPositions,
  kSegmentIds,
  kGridHw,
  kAttentionIndex,
  kTokenIndex,
  kCuSeqlens,
  kMergeGroups,  // this and what follows: of graphs that merge tokens (docs/tokens.md)
  kMergeCounts,
  kMergeRows,
  kMergeSlots,
  kMergeSegmentIds,
  kMergeAttentionIndex,
  kMergeTokenIndex,
};
template <>
inline constexpr Words<14> kWords<GraphInput>{
    "input",
    {"patches", "positions", "segment_ids", "grid_hw", "attention_index", "token_index", "cu_seqlens", "merge_groups",
     "merge_counts", "merge_rows", "merge_slots", "merge_segment_ids", "merge_attention_index", "merge_token_index"}};
enum class GraphOutput : std::int32_t { kLogits, kEmbedding, kTokens, kProjected, kDeepstack, kAttentionMap };
template <>
inline constexpr Words<6> kWords<GraphOutput>{
    "output", {"logits", "embedding", "tokens", "projected", "deepstack", "attention_map"}};

/// What the score of a class is: the softmax of all logits, or the sigmoid of its own.
/// What a cascade accepts a result by: the probability of the best class, or how far it is above the second one.
enum class CascadeScore : std::int32_t { kProbability, kMargin };
template <>
inline constexpr Words<2> kWords<CascadeScore>{"by", {"probability", "margin"}};

enum class Scores : std::int32_t { kSoftmax, kSigmoid };
template <>
inline constexpr Words<2> kWords<Scores>{"scores", {"softmax", "sigmoid"}};

/// "a, b, c"; "none" if there are none.
NAVIT_EDGE_API std::string list_of(std::span<const std::string_view> words);

/// Throws InvalidInput: "<what> is '<word>'; expected one of <known>".
[[noreturn]] NAVIT_EDGE_API void unknown_word(std::string_view what, std::string_view word, const std::string& known);

template <class Enum>
[[nodiscard]] constexpr std::string_view word_of(Enum value) noexcept {
  return kWords<Enum>.words[static_cast<std::size_t>(static_cast<std::int32_t>(value) - kWords<Enum>.first)];
}

/// The value of the word at `index`.
template <class Enum>
[[nodiscard]] constexpr Enum value_at(std::size_t index) noexcept {
  return static_cast<Enum>(static_cast<std::int32_t>(index) + kWords<Enum>.first);
}

/// Empty for another word.
template <class Enum>
[[nodiscard]] constexpr std::optional<Enum> find_word(std::string_view word) noexcept {
  constexpr auto& words = kWords<Enum>.words;
  const auto found = std::find(words.begin(), words.end(), word);
  if (found == words.end()) return std::nullopt;
  return value_at<Enum>(static_cast<std::size_t>(found - words.begin()));
}

/// Throws InvalidInput for another word.
template <class Enum>
[[nodiscard]] Enum parse_word(std::string_view word) {
  if (const auto found = find_word<Enum>(word)) return *found;
  unknown_word(kWords<Enum>.what, word, list_of(kWords<Enum>.words));
}

/// The same if "auto" leaves the choice to the session: empty.
template <class Enum>
[[nodiscard]] std::optional<Enum> parse_word_or_auto(std::string_view word) {
  if (word == "auto") return std::nullopt;
  if (const auto found = find_word<Enum>(word)) return found;
  unknown_word(kWords<Enum>.what, word, "auto, " + list_of(kWords<Enum>.words));
}

}  // namespace navit_edge

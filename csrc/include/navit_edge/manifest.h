// The bundle's manifest, read and checked. The schema is written down in docs/bundle.md.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "navit_edge/file_bytes.h"
#include "navit_edge/types.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// One dimension of a graph tensor: a fixed extent, or one of "T", "T/4", "T/9", "T/16", "N", "L", "N+1"; of a model
/// that merges tokens also "T*1/2+1N" or "L*1/2+1".
struct Dim {
  char symbol = '\0';       // 'T', 'N', 'L', or '\0' for a fixed extent
  std::int64_t extent = 0;  // the fixed extent; with a symbol, what is added to it: 1 in "N+1"
  std::int64_t parts = 1;   // with a symbol, what it is divided by, rounding down: 4 in "T/4"
  std::int64_t times = 1;   // what it is multiplied by before that
  std::int64_t images = 0;  // what is added for each image of the pack: 1 in "T*1/2+1N"

  friend bool operator==(const Dim&, const Dim&) = default;
};

struct TensorSpec {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<Dim> shape;
};

struct GraphSpec {
  std::string id;  // "masked", "padded", "packed", "masked-int8"
  Lowering lowering = Lowering::kMasked;
  Quantization quantization = Quantization::kNone;
  std::string file;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

struct Budget {
  std::int32_t tokens = 0;         // most tokens in a pack
  std::int32_t images = 0;         // most images in a pack
  std::int32_t target_tokens = 0;  // the planner stops filling a pack here; = tokens if T is padded to the budget
  std::int32_t longest = 0;        // most tokens of one image (L of the padded lowering); 0: as many as the pack holds
};

/// A pack takes `fixed_us + us_per_token * T + us_per_score * S`: cost.h says what S is, docs/planning.md the rest.
struct BudgetCost {
  double fixed_us = 0;
  double us_per_token = 0;
  double us_per_score = 0;
};

/// Engines that hold one budget each, where others hold all of them: a session opens them together.
struct EngineGroup {
  std::string id;                    // "tensorrt-sm87-fp16-t256+t1024"; no engine's id. Empty: none
  std::vector<std::string> members;  // ids of its engines, the engine's own among them
};

struct EngineSpec {
  std::string id;                        // "openvino-cpu-bf16"
  std::string backend;                   // "openvino" | "tensorrt" | "tensorrt-rtx"
  std::string target;                    // "cpu", "sm86+sm89"
  DeviceKind device = DeviceKind::kCpu;  // what `target` is
  Precision precision = Precision::kFp32;
  std::optional<Precision> float_precision;           // of what computes beside quantized layers: kFp32, kFp16 or kBf16
  std::string graph;                                  // id of the graph it was built from
  Strategy strategy = Strategy::kFirstFitDecreasing;  // what kAuto measures the others against
  bool dynamic_tokens = false;   // true: T is the pack's own token count; false: T is padded to the budget
  std::vector<Budget> budgets;   // ascending in tokens
  std::vector<BudgetCost> cost;  // [budgets], measured by `navit-edge bench --calibrate`; empty: not measured
  std::string cost_device;       // that it was measured on, in the backend's words
  std::int32_t cost_threads = 0;
  std::string file;
  std::map<std::string, std::string> builder;  // library -> version it was built with
  std::map<std::string, std::string> options;  // handed to the backend as they are
  EngineGroup group;
};

// The sizing rules: which grid an image gets (docs/preprocessing.md).

struct TokenCap {
  std::int32_t max_tokens = 0;  // most patches of an image
  bool upscale = false;         // small images are scaled up to max_tokens, too
};
struct Native {
  Fit fit = Fit::kResize;
  Rgb pad_rgb{};  // with kPad or kCrop: colour of what the image does not cover
};
struct NaFlex {
  std::int32_t max_tokens = 0;  // most patches of an image
};
struct SmartResize {
  std::int32_t merge = 0;  // sides are multiples of P * merge
  std::int64_t min_pixels = 0;
  std::int64_t max_pixels = 0;
  Enlarge enlarge = Enlarge::kOff;  // of images with a side below P * merge
};
struct PatchBudget {
  std::int32_t merge = 0;       // sides are multiples of P * merge
  std::int32_t max_tokens = 0;  // most patches of an image; small images are scaled up to it
};
struct LongestSide {
  std::int32_t longest_px = 0;
  std::int32_t merge = 0;  // sides are multiples of P * merge; 0 as 1
};
struct NavitResize {
  std::int32_t max_tokens = 0;  // most whole patches of an image, which is scaled down to them
  std::int32_t longest_px = 0;  // the longest side that it is scaled down to
  std::int32_t merge = 0;       // sides are then filled up to multiples of P * merge
  Rgb pad_rgb{};                // with this colour
};
struct Fixed {
  std::int32_t height_px = 0;
  std::int32_t width_px = 0;
};
using SizingRule = std::variant<TokenCap, Native, NaFlex, SmartResize, LongestSide, Fixed, PatchBudget, NavitResize>;

/// In the order of the alternatives.
template <>
inline constexpr Words<8> kWords<SizingRule>{
    "rule", {"token-cap", "native", "naflex", "smart-resize", "longest-side", "fixed", "patch-budget", "navit-resize"}};
[[nodiscard]] inline std::string_view word_of(const SizingRule& rule) noexcept {
  return kWords<SizingRule>.words[rule.index()];
}

struct SizingSpec {
  SizingRule rule;
  std::int32_t cap_tokens = 0;  // the session's own limit (sizing.h: capped), not in the manifest; 0: none
};

struct PreprocessSpec {
  SizingSpec sizing;
  Filter filter = Filter::kBilinear;
  Processor processor = Processor::kPillow;
  std::int32_t patch_px = 16;
  std::int32_t channels = 3;
  std::int32_t frames = 1;  // of a film that a patch holds, one after another: 1 or 2; the graphs' patches say it
  Alpha alpha = Alpha::kDrop;
  Rgb background = {255, 255, 255};  // for Alpha::kComposite

  // What is done to a file's pixels before they come here (docs/inputs.md). Python's decoder does it; who brings pixels
  // from a decoder of their own does it there.
  Orientation orientation = Orientation::kAsDecoded;
  Icc icc = Icc::kIgnore;
  Decode decode = Decode::kExact;
};

struct FileSpec {
  std::string sha256;  // lower-case hex
  std::uint64_t bytes = 0;
};

/// Merging of similar tokens inside the model (docs/tokens.md): an image of n patches keeps ceil(kept / of * n) tokens
/// behind the attention of a block. Tokens merge inside groups of at most `group` patches of one image.
struct MergingSpec {
  std::int32_t layer = 0;
  std::int32_t kept = 1;
  std::int32_t of = 1;
  std::int32_t group = 0;

  /// Each so many-th token of a group is one that others merge into.
  [[nodiscard]] std::int32_t stride() const noexcept { return (of + kept - 1) / kept; }
  /// Tokens that are left of an image's patches.
  [[nodiscard]] std::int64_t kept_of(std::int64_t patches) const noexcept { return (kept * patches + of - 1) / of; }
  /// Tokens that a group leaves, at most.
  [[nodiscard]] std::int64_t slots() const noexcept {
    return kept_of(group) + 1 < group ? kept_of(group) + 1 : std::int64_t{group};
  }
};

struct ModelSpec {
  std::string family;
  std::int32_t width = 0;          // D
  std::int32_t depth = 0;          // layers
  std::int32_t mlp_width = 0;      // of the model's config; 4 * D if that does not say
  std::int32_t prefix_tokens = 0;  // rows of CLS and registers at the start of each image
  std::int32_t token_merge = 1;    // patches a side that a row of the output "tokens" stands for

  // The same of "projected" and "deepstack"; 1 if there is none. The rows of the graphs' outputs say it: T, T/4, …
  std::int32_t projected_merge = 1;
  std::int32_t deepstack_merge = 1;

  std::optional<MergingSpec> merging;

  /// Of an output that has rows for each image's patches; 1 of others.
  [[nodiscard]] std::int32_t merge_of(GraphOutput output) const noexcept;
  /// Patches a side of the blocks that every image's grid is made of, so that all of these merge whole ones.
  [[nodiscard]] std::int32_t block_side() const noexcept;
};

/// The text tower beside the graphs (docs/zero-shot.md): embeds texts where the images' embeddings lie.
struct TextSpec {
  std::string file;
  std::vector<TensorSpec> inputs;   // "input_ids" int32 [N texts, tokens] and, if the model has one, "attention_mask"
  std::vector<TensorSpec> outputs;  // "embedding" float32 [N, D], of any length
  std::string tokenizer;            // a file of the tokenizers library, which pads and cuts texts to the tokens
  double logit_scale = 1;           // of an image and a text: logit = logit_scale * cosine + logit_bias
  double logit_bias = 0;
  std::vector<EngineSpec> engines;  // without budgets; `graph` is "text"
};

class NAVIT_EDGE_API Manifest {
 public:
  /// Reads and checks `<bundle>/manifest.json`. Throws BundleError.
  static Manifest load(const std::filesystem::path& bundle);

  /// The content of a file of the bundle, whose size and SHA-256 match the manifest. Links are not followed. Throws
  /// BundleError where the name leaves the bundle, is not listed, is missing, no regular file, or differs.
  [[nodiscard]] FileBytes verified_bytes(const std::string& name) const;

  [[nodiscard]] const EngineSpec& engine(const std::string& id) const&;  // throws BundleError, listing the ids
  [[nodiscard]] const GraphSpec& graph(const std::string& id) const&;
  const EngineSpec& engine(const std::string& id) const&& = delete;  // would dangle
  const GraphSpec& graph(const std::string& id) const&& = delete;

  std::filesystem::path bundle;
  std::string name;
  ModelSpec model;
  PreprocessSpec preprocess;
  std::vector<GraphSpec> graphs;
  std::vector<EngineSpec> engines;  // in order of preference within a device
  std::vector<std::string> labels;
  Scores scores = Scores::kSoftmax;  // of the classes
  std::optional<TextSpec> text;
  std::map<std::string, FileSpec> files;
  std::string sha256;  // of manifest.json, lower-case hex; empty if it was no file
};

}  // namespace navit_edge

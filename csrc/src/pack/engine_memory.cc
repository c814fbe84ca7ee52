#include "navit_edge/engine_memory.h"

#include <algorithm>

#include "pack/memory_plan.h"
#include "pack/shape_quantum.h"

namespace navit_edge {
namespace {

constexpr double kMiB = 1024.0 * 1024.0;

/// Measured with OpenVINO 2026.4 (benchmarks/engine_memory.py): per byte of the file, and bytes of an element.
struct OfPrecision {
  double packed;   // copies of the weights in other layouts, per byte of the file
  double element;  // bytes
};

OfPrecision of(Precision precision) noexcept {
  switch (precision) {
    case Precision::kFp16:
    case Precision::kBf16:
      return {0.5, 2};
    case Precision::kInt8:
      return {1.0, 2};
    default:
      return {1.35, 4};  // short packs have a layout of their own for some of the weights
  }
}

std::size_t file_bytes(const Manifest& manifest, const EngineSpec& engine) {
  const auto file = manifest.files.find(engine.file);
  return file == manifest.files.end() ? 0 : static_cast<std::size_t>(file->second.bytes);
}

constexpr double kLibraryBytes = 77 * kMiB;  // once it has opened an engine and run it
constexpr double kGapBytes = 4 * kMiB;       // what the allocator keeps between shapes,
constexpr double kShapeBytes = 0.3 * kMiB;   // and for one shape of each kind of operation
constexpr double kWidths = 12;               // a token's activations, all at once: of so many widths,
constexpr double kMlpWidths = 3;             // and so many of the layers between

}  // namespace

std::int32_t default_capacity(std::size_t file_bytes) noexcept {
  constexpr std::size_t kBytesOfOne = 512 * 1024;  // as csrc/backends/openvino/options.cc
  return static_cast<std::int32_t>(std::clamp<std::size_t>(file_bytes / kBytesOfOne, 32, 96));
}

std::int32_t largest_pack(const Manifest& manifest, const EngineSpec& engine) {
  const Budget& budget = engine.budgets.back();
  if (!engine.dynamic_tokens) return budget.tokens;
  const std::int32_t quantum = shape_quantum(engine);
  const Budget bounded = with_longest(budget, manifest.preprocess, manifest.model, quantum);
  const std::int32_t target = budget.target_tokens > 0 ? std::min(budget.target_tokens, budget.tokens) : budget.tokens;
  return rounded_up(std::max(target, bounded.longest), quantum, budget.tokens);
}

EngineNeed engine_memory(const Manifest& manifest, const EngineSpec& engine, const EngineLoad& load) {
  EngineNeed need;
  const std::size_t file = load.file_bytes > 0 ? load.file_bytes : file_bytes(manifest, engine);
  const auto bytes = static_cast<double>(file);
  if (engine.device != DeviceKind::kCpu) {
    need.weights = file;
    return need;
  }
  const OfPrecision measured = of(engine.precision);
  const double tokens = load.tokens > 0 ? load.tokens : largest_pack(manifest, engine);
  const PreprocessSpec& preprocess = manifest.preprocess;
  const double features =
      double(preprocess.patch_px) * preprocess.patch_px * preprocess.channels * std::max(1, preprocess.frames);
  const double token = measured.element * (kWidths * manifest.model.width + kMlpWidths * manifest.model.mlp_width) +
                       (2 * measured.element + 1) * features;
  const std::int32_t capacity = load.capacity > 0 ? load.capacity : default_capacity(file);
  const bool known = engine.backend == "openvino";
  need.library = known ? static_cast<std::size_t>(kLibraryBytes) : 0;
  need.weights = static_cast<std::size_t>(bytes * (1 + measured.packed));
  need.activations = static_cast<std::size_t>(load.slots * tokens * token);
  need.shapes = known ? static_cast<std::size_t>(kGapBytes + capacity * kShapeBytes) : 0;
  return need;
}

}  // namespace navit_edge

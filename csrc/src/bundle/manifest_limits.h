// The limits of a manifest (docs/bundle.md): what parse_manifest holds it to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace navit_edge {

/// What this version reads and writes: docs/compatibility.md says what raises which. All major versions have the same
/// minor ones.
inline constexpr std::int64_t kLeastSchemaVersion = 1;
inline constexpr std::int64_t kSchemaVersion = 3;
inline constexpr std::int64_t kSchemaMinor = 1;

/// The most that a manifest may hold, beside its bytes and what json_text.h says. Far above what export and
/// build-engine write, and low enough that a file of the largest size is read in about a second.
struct ManifestLimits {
  std::size_t graphs = 256;
  std::size_t tensors = 64;  // inputs of a graph, and outputs
  std::size_t dimensions = 8;
  std::size_t engines = 1024;
  std::size_t budgets = 256;  // of an engine
  std::size_t labels = std::size_t{1} << 20;
  std::size_t golden = 4096;
  std::size_t files = std::size_t{1} << 16;
  std::int32_t tokens = 1 << 24;  // of a budget
  std::int32_t images = 1 << 24;  // of a budget
  std::int32_t width = 1 << 20;   // of the model
  std::int32_t layers = 1 << 16;  // of the model; its heads, too
  std::int32_t merge_fraction = 1000;
  std::int32_t merge_group = 1024;
};
inline constexpr ManifestLimits kManifestLimits;
/// Of a field that takes any integer.
inline constexpr std::int64_t kLeastInteger = std::numeric_limits<std::int64_t>::min();
inline constexpr std::int64_t kMostInteger = std::numeric_limits<std::int64_t>::max();

/// What to do about a manifest, or a file of the bundle, that is not as it was made.
inline constexpr const char* kBundleRemedy = "copy the bundle again or export the model again";

}  // namespace navit_edge

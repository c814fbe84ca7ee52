// The bundle's manifest, read and checked. The schema is written down in docs/bundle.md.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "navit_edge/types.h"

namespace navit_edge {

/// One dimension of a graph tensor: a fixed extent, or one of the letters "T", "N", "L".
struct Dim {
  char symbol = '\0';       // 'T', 'N', 'L', or '\0' for a fixed extent
  std::int64_t extent = 0;  // valid when symbol == '\0'
};

struct TensorSpec {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<Dim> shape;
};

struct GraphSpec {
  std::string id;        // "masked", "padded"
  std::string lowering;  // "masked" | "padded" | "packed"
  std::string file;
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

struct Budget {
  std::int32_t tokens = 0;         // most tokens in a pack
  std::int32_t images = 0;         // most images in a pack
  std::int32_t target_tokens = 0;  // the planner stops filling a pack here; = tokens where T is padded to the budget
};

struct EngineSpec {
  std::string id;               // "openvino-cpu-bf16"
  std::string backend;          // "openvino" | "tensorrt" | "tensorrt-rtx"
  std::string target;           // "cpu", "sm86+sm89"
  std::string precision;        // "fp32" | "fp16" | "bf16"
  std::string graph;            // id of the graph it was built from
  std::string strategy;         // "first-fit-decreasing" | "similar-length"
  bool dynamic_tokens = false;  // true: T is the pack's own token count; false: T is padded to the budget
  std::vector<Budget> budgets;  // ascending in tokens
  std::string file;
  std::map<std::string, std::string> builder;  // library -> version it was built with
  std::map<std::string, std::string> options;  // handed to the backend as they are
};

struct SizingSpec {
  std::string rule;             // "token-cap" | "native"
  std::int32_t max_tokens = 0;  // patch tokens per image; "token-cap" only
};

struct PreprocessSpec {
  SizingSpec sizing;
  std::string filter;  // "nearest" | "box" | "bilinear" | "hamming" | "bicubic" | "lanczos", as Pillow computes them
  std::int32_t patch_px = 16;
  std::int32_t channels = 3;
  std::string alpha = "drop";                                // "drop" | "composite" | "reject"
  std::array<std::uint8_t, 3> background = {255, 255, 255};  // RGB, for alpha "composite"
};

/// Channels of a pixel in `patches`.
inline constexpr std::int32_t kChannels = 3;

struct FileSpec {
  std::string sha256;  // lower-case hex
  std::uint64_t bytes = 0;
};

struct ModelSpec {
  std::string family;
  std::int32_t width = 0;          // D
  std::int32_t prefix_tokens = 0;  // rows of CLS and registers at the start of each image
};

class NAVIT_EDGE_API Manifest {
 public:
  /// Reads and checks `<bundle>/manifest.json`. Throws BundleError.
  static Manifest load(const std::filesystem::path& bundle);

  /// Path of a file of the bundle whose size and SHA-256 match the manifest. Throws BundleError where the name
  /// leaves the bundle, is not listed, is missing or differs.
  [[nodiscard]] std::filesystem::path verified_file(const std::string& name) const;

  [[nodiscard]] const EngineSpec& engine(const std::string& id) const;  // throws BundleError, listing the ids
  [[nodiscard]] const GraphSpec& graph(const std::string& id) const;

  std::filesystem::path bundle;
  std::string name;
  ModelSpec model;
  PreprocessSpec preprocess;
  std::vector<GraphSpec> graphs;
  std::vector<EngineSpec> engines;  // in order of preference within a device
  std::vector<std::string> labels;
  std::map<std::string, FileSpec> files;
};

}  // namespace navit_edge

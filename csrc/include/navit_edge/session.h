// The session ties plan, pack, engine and unpack together.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "navit_edge/engine.h"
#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "navit_edge/unpack.h"

namespace navit_edge {

struct SessionOptions {
  std::string device = "auto";            // "auto" | "cpu" | "gpu"
  std::string engine;                     // id from the manifest; empty: the first that can run on `device`
  std::string precision = "auto";         // "auto" | "fp32" | "fp16" | "bf16" | "int8" | "fp8"
  int threads = 0;                        // 0: all cores the process may use
  std::int32_t max_tokens_per_image = 0;  // lowers the bundle's per-image cap; 0: as the bundle says
  BackendSearch search;
  std::map<std::string, std::string> backend;  // options for the backend
};

/// What was considered when the engine was chosen, in order; the last one that can run is used.
struct Candidate {
  std::string engine;
  bool usable = false;
  std::string detail;  // the device in words, or why not
};

struct PackReport {
  std::int32_t images = 0;
  std::int32_t tokens = 0;    // used
  std::int32_t capacity = 0;  // T as the graph saw it
  std::int32_t budget_tokens = 0;
  double preprocess_us = 0;
  double engine_us = 0;
};

struct RunReport {
  std::vector<PackReport> packs;
  double total_us = 0;
};

/// Runs images of any size. `run` may be called from any thread; concurrent calls take turns.
class NAVIT_EDGE_API Session {
 public:
  /// Opens a bundle. Throws BundleError or BackendError.
  explicit Session(const std::filesystem::path& bundle, SessionOptions options = {});
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  /// One result per image, in input order. Borrows the pixels until it returns. An image that cannot be run (empty,
  /// over budget) fails alone: its result carries the error. Throws InvalidInput for an empty list, BackendError
  /// where the engine fails.
  std::vector<Result> run(std::span<const ImageView> images, RunReport* report = nullptr);

  [[nodiscard]] const Manifest& manifest() const noexcept;
  [[nodiscard]] const EngineSpec& engine() const noexcept;
  [[nodiscard]] const std::vector<Candidate>& candidates() const noexcept;
  [[nodiscard]] std::string device() const;  // in words, as the backend says

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace navit_edge

// The session ties plan, pack, engine and unpack together.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "navit_edge/engine.h"
#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "navit_edge/policy.h"
#include "navit_edge/unpack.h"

namespace navit_edge {

struct SessionOptions {
  std::string device = "auto";     // "auto" | "cpu" | "gpu"
  std::string engine;              // id of an engine or a group; empty: the first that can run on `device`
  std::string precision = "auto";  // "auto" | "fp32" | "fp16" | "bf16" | "int8" | "fp8"
  int threads = 0;                 // 0: all cores the process may use
  /// Packs in flight at once. An engine that cannot open so many is an error. 0: for engines of fixed tokens on an
  /// accelerator two, or one where two do not open; on a CPU one with all cores, and two while two packs wait.
  int slots = 0;
  std::int32_t max_tokens_per_image = 0;  // most patches of an image (sizing.h: capped); 0: as the bundle says
  std::string strategy = "auto";          // which images share a pack: a name of plan.h
  /// What becomes of an image that is longer than every budget. "error": its result carries OverBudget. "downscale": it
  /// is resized to the largest grid that fits, and its result says so. "split" is refused: no model allows it yet.
  std::string overflow = "error";
  BackendSearch search;
  std::map<std::string, std::string> backend;  // options for the backend
  Policy policy;                               // of images that name none
};

/// What was considered when the engine was chosen, in order; the last one that can run is used.
struct Candidate {
  std::string engine;  // or group
  bool usable = false;
  std::string detail;  // the device in words and, where it has one slot for want of memory, that; or why not
};

struct PackReport {
  std::int32_t images = 0;
  std::int32_t tokens = 0;    // used
  std::int32_t capacity = 0;  // T as the graph saw it
  std::int32_t budget_tokens = 0;
  double start_us = 0;  // when its preprocessing began, since the run did
  double preprocess_us = 0;
  double engine_us = 0;
  double unpack_us = 0;  // part of no other
  std::int32_t slot = 0;
  std::string engine;       // id of the engine that ran it; of a group that of its budget
  double predicted_us = 0;  // by the cost model, both together
};

struct RunReport {
  std::vector<PackReport> packs;
  std::int32_t most_in_flight = 0;  // packs at once, from the start of preprocessing to the results
  double plan_us = 0;               // sizing and planning of all images
  double total_us = 0;
  double predicted_us = 0;     // of all packs on the streams there are
  bool cost_measured = false;  // the prediction rests on `bench --calibrate`; false: on the model's sizes
};

struct RunOptions {
  std::optional<Policy> policy;  // none: the session's
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
  std::vector<Result> run(std::span<const ImageView> images, RunReport* report = nullptr,
                          const RunOptions& options = {});

  [[nodiscard]] const Manifest& manifest() const noexcept;
  /// What runs. For a group: its id, the budgets of all its engines, and the rest as its largest engine has it.
  [[nodiscard]] const EngineSpec& engine() const noexcept;
  [[nodiscard]] int slots() const noexcept;  // packs that may be in flight at once
  [[nodiscard]] const std::vector<Candidate>& candidates() const noexcept;
  [[nodiscard]] std::string device() const;  // in words, as the backend says
  /// What the opened engine says of itself, a JSON object: Engine::report.
  [[nodiscard]] std::string engine_report() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace navit_edge

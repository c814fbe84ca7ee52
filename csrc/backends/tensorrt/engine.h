// An opened TensorRT engine: the plan, and one slot for each run that may be in flight.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slot.h"

namespace navit_edge::tensorrt {

/// The GPU that `options` name, fit for an engine of `target` built by `builder`; throws BackendError if it is not.
Device fit_device(const Library& library, const Options& options, std::span<const navit_edge_option> builder);

class Engine {
 public:
  explicit Engine(const navit_edge_engine_desc& desc);
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  /// Runs one pack on `slot`; threads may run different slots at once. After a CUDA error every run fails at once with
  /// that first cause: CUDA gives no later call a result that could be trusted.
  void run(std::int32_t slot, std::span<const navit_edge_tensor> inputs, std::span<const navit_edge_tensor> outputs);

  /// Slot::input_memory; throws InvalidInput if there is no such slot.
  void* input_memory(std::int32_t slot, std::string_view name, std::size_t bytes) const;

  /// What docs/tensorrt-backend.md lists under "report", a JSON object. From any thread, beside runs.
  std::string report() const;

 private:
  void make_slots(std::int32_t count);
  [[nodiscard]] Slot& slot_at(std::int32_t slot) const;
  [[nodiscard]] Slot::GraphState graph_state(std::size_t profile) const;
  void mark_broken(const std::string& cause);

  Options options_;
  const Library& library_;
  Device device_;
  bool mapped_;  // the GPU works on page-locked host memory in place
  std::unique_ptr<Plan> plan_;
  std::vector<std::unique_ptr<Slot>> slots_;  // goes before the plan
  std::atomic<bool> broken_{false};
  mutable std::mutex cause_mutex_;
  std::string cause_;  // of the first CUDA error
};

}  // namespace navit_edge::tensorrt

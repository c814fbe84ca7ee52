// One compiled OpenVINO model with one infer request per slot.
#pragma once

#include <cstdint>
#include <memory>
#include <openvino/runtime/compiled_model.hpp>
#include <openvino/runtime/core.hpp>
#include <openvino/runtime/infer_request.hpp>
#include <openvino/runtime/tensor.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "freed_memory.h"
#include "navit_edge/backend_sdk.h"
#include "options.h"

namespace navit_edge::openvino {

/// The process's one ov::Core: it owns the plug-ins, whose threads and caches are worth sharing.
ov::Core& core();

/// Throws BackendError if `device` cannot compute in `precision`: OpenVINO itself would fall back in silence.
void require_precision(const std::string& device, const std::string& precision);

class Engine {
 public:
  explicit Engine(const navit_edge_engine_desc& desc);

  /// Binds the caller's memory to the slot's request and runs it: nothing is copied. One thread per slot.
  void run(std::int32_t slot, std::span<const navit_edge_tensor> inputs, std::span<const navit_edge_tensor> outputs);

  /// None: `run` binds the caller's own memory, so there is no copy to save.
  static void* input_memory(std::int32_t, std::string_view, std::size_t) noexcept { return nullptr; }

  /// What the compiled model says of itself, a JSON object; from any thread.
  [[nodiscard]] std::string report() const;

 private:
  /// A tensor of the caller's as it was last bound to a request: most packs come with the memory of an earlier one.
  struct Bound {
    std::string name;
    std::vector<std::int64_t> shape;
    ov::Tensor tensor;
  };
  struct Slot {
    ov::InferRequest request;
    std::vector<Bound> bound;
    bool new_shape;  // since the last run
  };
  /// Binds `tensor` to the slot's request, unless it is bound as it is.
  static const ov::Tensor& bind(Slot& slot, const navit_edge_tensor& tensor);

  struct FreedMemory {
    ~FreedMemory() { give_back(); }
  } freed_memory_;  // goes last
  Options options_;
  ov::CompiledModel model_;
  std::vector<Slot> slots_;
};

}  // namespace navit_edge::openvino

// What one run in flight needs: a stream, one arena, tensors' memory, and a context and a CUDA graph for each budget.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cuda.h"
#include "plan.h"

namespace navit_edge::tensorrt {

class Slot {
 public:
  /// `mapped`: the GPU works on host memory in place, nothing is copied. Throws BackendError, CudaError.
  Slot(const Library& library, const Plan& plan, GraphMode graphs, bool mapped);

  /// Runs one pack and waits for it. One thread at a time. Throws CudaError if CUDA failed, so that nothing that
  /// follows can be trusted; another error if only this run failed.
  void run(std::span<const navit_edge_tensor> inputs, std::span<const navit_edge_tensor> outputs);

  /// Page-locked memory of input `name`: `run` recognizes it and copies nothing on the host. Null if there is no
  /// such input, or not that much. Outputs have none: what the next pass overwrites is nothing to hand out.
  [[nodiscard]] void* input_memory(std::string_view name, std::size_t bytes) const noexcept;

  /// Bytes of one slot's inputs and outputs at their largest, on the GPU or mapped.
  [[nodiscard]] std::size_t tensor_bytes() const noexcept { return tensor_bytes_; }
  [[nodiscard]] std::int64_t arena_bytes() const noexcept { return arena_bytes_; }

  /// How far the CUDA graph of a budget has come. From any thread.
  enum class GraphStage { kOff, kPending, kCaptured, kFailed, kFallback };  // the last is what a report is after
  struct GraphState {
    GraphStage stage = GraphStage::kPending;
    std::string reason;  // of kOff, kFailed and kFallback
  };
  [[nodiscard]] GraphState graph_state(std::size_t profile) const;

 private:
  /// One input or output: the caller's bytes go through page-locked memory, which the GPU reads asynchronously.
  struct Staging {
    std::size_t capacity = 0;
    PinnedMemory host;
    DeviceMemory device;      // none if the host's memory is mapped
    void* address = nullptr;  // as the GPU sees it
  };

  /// A budget: a context bound to its profile for good.
  struct Pass {
    std::unique_ptr<nvinfer1::IExecutionContext> context;
    std::vector<nvinfer1::Dims> shapes;  // [inputs] as set; empty before the first run
    std::vector<nvinfer1::Dims> graph_shapes;
    ExecutableGraph graph;
    GraphState state;  // under states_mutex_
  };

  void make_contexts(Logger::Call& said);
  void make_staging(Logger::Call& said);
  void set_shapes(Pass& pass, std::span<const navit_edge_tensor* const> inputs, Logger::Call& said);
  void enqueue(Pass& pass, Logger::Call& said);
  void capture(Pass& pass, Logger::Call& said);
  void set_state(Pass& pass, GraphStage stage, std::string reason = {});
  /// Waits for the stream; a failure is a CudaError.
  void synchronize(const char* what);

  const Api& api_;
  const Plan& plan_;
  GraphMode graphs_;
  bool mapped_;
  std::size_t tensor_bytes_ = 0;
  std::int64_t arena_bytes_ = 0;
  mutable std::mutex states_mutex_;
  Stream stream_;
  DeviceMemory arena_;
  std::vector<Staging> inputs_;
  std::vector<Staging> outputs_;
  std::vector<Pass> passes_;  // [profiles]; goes before what its contexts use
};

}  // namespace navit_edge::tensorrt

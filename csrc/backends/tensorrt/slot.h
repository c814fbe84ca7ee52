// What one run in flight needs: a stream, one arena, tensors' memory, and a context and a CUDA graph for each budget.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cuda.h"
#include "plan.h"

namespace navit_edge::tensorrt {

class Slot {
 public:
  /// `mapped`: the GPU works on host memory in place, nothing is copied. Throws BackendError, CudaError.
  Slot(const Library& library, const Plan& plan, GraphMode graphs, bool mapped);

  /// Runs one pack and waits for it. One thread at a time. Throws CudaError where CUDA failed, so that nothing that
  /// follows can be trusted; another error where only this run failed.
  void run(std::span<const navit_edge_tensor> inputs, std::span<const navit_edge_tensor> outputs);

  /// Bytes of one slot's inputs and outputs at their largest, on the GPU or mapped.
  [[nodiscard]] std::size_t tensor_bytes() const noexcept { return tensor_bytes_; }

 private:
  /// One input or output: the caller's bytes go through page-locked memory, which the GPU reads asynchronously.
  struct Staging {
    std::size_t capacity = 0;
    PinnedMemory host;
    DeviceMemory device;      // none where the host's memory is mapped
    void* address = nullptr;  // as the GPU sees it
  };

  /// A budget: a context bound to its profile for good.
  struct Pass {
    std::unique_ptr<nvinfer1::IExecutionContext> context;
    std::vector<nvinfer1::Dims> shapes;  // [inputs] as set; empty before the first run
    std::vector<nvinfer1::Dims> graph_shapes;
    ExecutableGraph graph;
    std::string graph_failure;  // why this budget has no graph; not tried again
  };

  void make_contexts();
  void make_staging();
  void set_shapes(Pass& pass, std::span<const navit_edge_tensor* const> inputs);
  void enqueue(Pass& pass);
  void capture(Pass& pass);
  /// Waits for the stream; a failure is a CudaError.
  void synchronize(const char* what);

  const Library& library_;
  const Api& api_;
  const Plan& plan_;
  GraphMode graphs_;
  bool mapped_;
  std::size_t tensor_bytes_ = 0;
  Stream stream_;
  DeviceMemory arena_;
  std::vector<Staging> inputs_;
  std::vector<Staging> outputs_;
  std::vector<Pass> passes_;  // [profiles]; goes before what its contexts use
};

}  // namespace navit_edge::tensorrt

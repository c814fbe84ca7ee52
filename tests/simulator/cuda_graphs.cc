// A stand-in for the calls of libcuda.so.1 that the stand-in for TensorRT in tests/gpu makes, with the documented rules
// enforced. Not NVIDIA's.
#include <cuda.h>

#include <cstring>
#include <utility>

#include "device.h"

#undef cuStreamUpdateCaptureDependencies  // newer headers call another function by this name

using simulator::violation;

namespace {

void* of(CUdeviceptr address) { return reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)); }

/// cudaError_t and CUresult share their numbers.
CUresult result(cudaError_t status) { return static_cast<CUresult>(status); }

CUresult pushed(CUstream stream, simulator::Work work, const char* call) {
  if (const cudaError_t status = simulator::refused(call); status != cudaSuccess) return result(status);
  if (simulator::must_fail(call)) return CUDA_ERROR_INVALID_VALUE;
  if (simulator::push(stream, std::move(work))) return CUDA_SUCCESS;
  violation(std::string(call) + " was given no stream");
  return CUDA_ERROR_INVALID_HANDLE;
}

}  // namespace

extern "C" {

SIMULATOR_EXPORT CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream) {
  void* target = simulator::bytes_at(of(to), bytes);
  const void* source = simulator::bytes_at(of(from), bytes);
  if (target == nullptr || source == nullptr) {
    violation("cuMemcpyAsync was given an address that is none of the device's, or too many bytes");
    return CUDA_ERROR_INVALID_VALUE;
  }
  return pushed(
      stream,
      [=] {
        std::memcpy(target, source, bytes);
        return cudaSuccess;
      },
      "cuMemcpyAsync");
}

SIMULATOR_EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, std::size_t bytes, CUstream stream) {
  void* target = simulator::bytes_at(of(to), bytes);
  if (target == nullptr) {
    violation("cuMemsetD8Async was given an address that is none of the device's, or too many bytes");
    return CUDA_ERROR_INVALID_VALUE;
  }
  return pushed(
      stream,
      [=] {
        std::memset(target, value, bytes);
        return cudaSuccess;
      },
      "cuMemsetD8Async");
}

SIMULATOR_EXPORT CUresult cuStreamSynchronize(CUstream stream) {
  if (!simulator::is_capturing(stream)) return result(simulator::synchronize(stream));
  simulator::invalidate_capture(stream);  // as a layer does that cannot be captured; no rule is broken by asking
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

SIMULATOR_EXPORT CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id,
                                                    CUgraph* graph, const CUgraphNode** dependencies,
                                                    std::size_t* count) {
  if (simulator::must_fail("cuStreamGetCaptureInfo_v2")) return CUDA_ERROR_INVALID_VALUE;
  if (!simulator::is_capturing(stream)) {
    *status = CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
  }
  *status = stream->capture_valid ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_INVALIDATED;
  *id = 1;
  *graph = stream->captured.get();
  *dependencies = &stream->last;
  *count = stream->last != nullptr ? 1 : 0;
  return CUDA_SUCCESS;
}

SIMULATOR_EXPORT CUresult cuGraphAddChildGraphNode(CUgraphNode* node, CUgraph graph, const CUgraphNode* dependencies,
                                                   std::size_t count, CUgraph child) {
  if (simulator::must_fail("cuGraphAddChildGraphNode")) return CUDA_ERROR_INVALID_VALUE;
  const CUgraphNode last = graph->nodes.empty() ? nullptr : &graph->nodes.back();
  if (count != (last != nullptr ? 1u : 0u) || (last != nullptr && dependencies[0] != last))
    violation("a child graph was added that does not wait for what was captured before it");
  graph->nodes.push_back({[nodes = child->nodes] {  // a copy, as the driver makes one
    for (const CUgraphNode_st& one : nodes) {
      if (const cudaError_t status = one.work(); status != cudaSuccess) return status;
    }
    return cudaSuccess;
  }});
  *node = &graph->nodes.back();
  simulator::count_event("child graph");
  return CUDA_SUCCESS;
}

SIMULATOR_EXPORT CUresult cuStreamUpdateCaptureDependencies(CUstream stream, CUgraphNode* dependencies,
                                                            std::size_t count, unsigned int flags) {
  if (simulator::must_fail("cuStreamUpdateCaptureDependencies")) return CUDA_ERROR_INVALID_VALUE;
  if (!simulator::is_capturing(stream)) return CUDA_ERROR_ILLEGAL_STATE;
  if (count != 1 || flags != CU_STREAM_SET_CAPTURE_DEPENDENCIES) {
    violation("cuStreamUpdateCaptureDependencies is simulated for one node that takes the others' place");
    return CUDA_ERROR_INVALID_VALUE;
  }
  stream->last = dependencies[0];
  return CUDA_SUCCESS;
}

SIMULATOR_EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec* executable, CUgraph graph, unsigned long long) {
  return result(simulator::instantiate(executable, graph));
}

SIMULATOR_EXPORT CUresult cuGraphLaunch(CUgraphExec executable, CUstream stream) {
  if (const cudaError_t status = simulator::refused("cuGraphLaunch"); status != cudaSuccess) return result(status);
  if (simulator::must_fail("cuGraphLaunch")) return CUDA_ERROR_LAUNCH_FAILED;
  if (simulator::is_capturing(stream)) {
    violation("cuGraphLaunch into a capture is not simulated");
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  if (!simulator::launch(executable, stream)) return CUDA_ERROR_INVALID_HANDLE;
  simulator::count_event("enqueue");
  return CUDA_SUCCESS;
}

SIMULATOR_EXPORT CUresult cuGraphExecDestroy(CUgraphExec executable) { return result(simulator::destroy(executable)); }

}  // extern "C"

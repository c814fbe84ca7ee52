// A stand-in for libcudart.so.12: the calls that our backend makes, with the documented rules enforced. Not NVIDIA's.
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <utility>

#include "device.h"

using simulator::must_fail;
using simulator::refused;
using simulator::violation;
using simulator::Work;

namespace {

std::shared_mutex streams_mutex;  // shared where a stream is looked up, which orders no two of them
std::set<cudaStream_t> streams;

bool exists(cudaStream_t stream) {
  const std::shared_lock lock(streams_mutex);
  return streams.contains(stream);
}

cudaError_t fail_for_good(cudaError_t status) {
  simulator::set_sticky(status);
  return refused("");  // this thread is told
}

/// The bytes of one side of a copy, or null with the broken rule written down.
void* side(const void* address, std::size_t bytes, bool on_device) {
  if (on_device) {
    void* kept = simulator::bytes_at(address, bytes);
    if (kept == nullptr) violation("a copy was given an address that is none of the device's, or too many bytes");
    return kept;
  }
  if (!simulator::is_pinned(address, bytes)) {
    violation("an asynchronous copy was given host memory that is not page-locked");
    return nullptr;
  }
  return const_cast<void*>(address);
}

}  // namespace

namespace simulator {

bool push(cudaStream_t stream, Work work) {
  if (!exists(stream)) return false;
  if (stream->capturing) {
    auto& nodes = stream->captured->nodes;
    if (stream->last != (nodes.empty() ? nullptr : &nodes.back()))
      violation("work was captured that does not wait for what was captured before it");
    nodes.push_back({std::move(work)});
    stream->last = &nodes.back();
  } else {
    stream->pending.push_back(std::move(work));
  }
  return true;
}

bool is_capturing(cudaStream_t stream) { return exists(stream) && stream->capturing; }
void invalidate_capture(cudaStream_t stream) { stream->capture_valid = false; }

bool launch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (!exists(stream)) return false;
  for (const CUgraphNode_st& node : executable->nodes) stream->pending.push_back(node.work);
  return true;
}

cudaError_t synchronize(cudaStream_t stream) {
  if (!exists(stream)) {
    violation("cudaStreamSynchronize was given no stream");
    return cudaErrorInvalidResourceHandle;
  }
  if (sticky() != cudaSuccess) return sticky();  // it asks what became of the work
  if (stream->capturing) {
    violation("a stream was synchronized while it was captured");
    stream->capture_valid = false;
    return cudaErrorStreamCaptureUnsupported;
  }
  if (must_fail("cudaStreamSynchronize")) return fail_for_good(cudaErrorIllegalAddress);
  while (!stream->pending.empty()) {
    const Work work = std::move(stream->pending.front());
    stream->pending.pop_front();
    if (const cudaError_t status = work(); status != cudaSuccess) return fail_for_good(status);
  }
  return cudaSuccess;
}

cudaError_t instantiate(cudaGraphExec_t* executable, cudaGraph_t graph) {
  if (const cudaError_t status = refused("cudaGraphInstantiateWithFlags"); status != cudaSuccess) return status;
  if (must_fail("cudaGraphInstantiateWithFlags")) return cudaErrorMemoryAllocation;
  *executable = new CUgraphExec_st{graph->nodes};
  count_live("executable graph", 1);
  return cudaSuccess;
}

cudaError_t destroy(cudaGraphExec_t executable) {
  delete executable;
  count_live("executable graph", -1);
  return must_fail("cudaGraphExecDestroy") ? cudaErrorInvalidValue : sticky();
}

}  // namespace simulator

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  if (must_fail("cudaGetDeviceCount")) return cudaErrorInitializationError;
  if (simulator::setting("DRIVER_TOO_OLD", 0) != 0) return cudaErrorInsufficientDriver;
  *count = static_cast<int>(simulator::setting("DEVICES", 1));
  return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaSetDevice(int device) {
  if (simulator::sticky() != cudaSuccess) return simulator::sticky();
  if (must_fail("cudaSetDevice")) return cudaErrorDevicesUnavailable;
  return device < simulator::setting("DEVICES", 1) ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  if (const cudaError_t status = refused("cudaDeviceGetAttribute"); status != cudaSuccess) return status;
  if (must_fail("cudaDeviceGetAttribute")) return cudaErrorInvalidValue;
  const auto capability = static_cast<int>(simulator::setting("CAPABILITY", 89));
  switch (which) {
    case cudaDevAttrComputeCapabilityMajor:
      *value = capability / 10;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = capability % 10;
      return cudaSuccess;
    case cudaDevAttrIntegrated:
      *value = static_cast<int>(simulator::setting("INTEGRATED", 0));
      return cudaSuccess;
    case cudaDevAttrCanMapHostMemory:
      *value = 1;
      return cudaSuccess;
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t cudaMemGetInfo(std::size_t* free_memory, std::size_t* all_memory) {
  if (must_fail("cudaMemGetInfo")) return cudaErrorInvalidValue;
  *free_memory = simulator::free_bytes();
  *all_memory = simulator::all_bytes();
  return cudaSuccess;
}

const char* cudaGetErrorName(cudaError_t status) {
  switch (status) {
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    default:
      return "simulated error";
  }
}
const char* cudaGetErrorString(cudaError_t status) {
  return status == cudaErrorMemoryAllocation ? "out of memory" : "simulated, code in its name";
}
cudaError_t cudaGetLastError() { return simulator::sticky(); }

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
  if (const cudaError_t status = refused("cudaMalloc"); status != cudaSuccess) return status;
  if (must_fail("cudaMalloc")) return cudaErrorMemoryAllocation;
  *memory = simulator::allocate_device(bytes);
  return *memory != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFree(void* memory) {
  if (!simulator::release_device(memory)) violation("cudaFree was given what cudaMalloc did not make");
  return must_fail("cudaFree") ? cudaErrorInvalidValue : simulator::sticky();
}

cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned int flags) {
  if (const cudaError_t status = refused("cudaHostAlloc"); status != cudaSuccess) return status;
  if (must_fail("cudaHostAlloc")) return cudaErrorMemoryAllocation;
  *memory = simulator::allocate_pinned(bytes, (flags & cudaHostAllocMapped) != 0);
  return *memory != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void* memory) {
  if (!simulator::release_pinned(memory)) violation("cudaFreeHost was given what cudaHostAlloc did not make");
  return must_fail("cudaFreeHost") ? cudaErrorInvalidValue : simulator::sticky();
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned int) {
  if (must_fail("cudaHostGetDevicePointer")) return cudaErrorInvalidValue;
  *device = simulator::device_address_of(host);
  if (*device != nullptr) return cudaSuccess;
  violation("cudaHostGetDevicePointer was given memory that is not mapped");
  return cudaErrorInvalidValue;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  if (const cudaError_t status = refused("cudaMemcpyAsync"); status != cudaSuccess) return status;
  if (must_fail("cudaMemcpyAsync")) return fail_for_good(cudaErrorIllegalAddress);
  void* target = side(to, bytes, kind == cudaMemcpyHostToDevice);
  const void* source = side(from, bytes, kind == cudaMemcpyDeviceToHost);
  if (target == nullptr || source == nullptr) return cudaErrorInvalidValue;
  const bool pushed = simulator::push(stream, [=] {
    std::memcpy(target, source, bytes);
    return cudaSuccess;
  });
  if (!pushed) violation("cudaMemcpyAsync was given no stream");
  simulator::count_event(kind == cudaMemcpyHostToDevice ? "copy to the device" : "copy from the device");
  return pushed ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  if (const cudaError_t status = refused("cudaLaunchHostFunc"); status != cudaSuccess) return status;
  const bool pushed = simulator::push(stream, [=] {
    function(data);
    return cudaSuccess;
  });
  return pushed ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int) {
  if (const cudaError_t status = refused("cudaStreamCreateWithFlags"); status != cudaSuccess) return status;
  if (must_fail("cudaStreamCreateWithFlags")) return cudaErrorMemoryAllocation;
  *stream = new CUstream_st;
  const std::lock_guard lock(streams_mutex);
  streams.insert(*stream);
  simulator::count_live("stream", 1);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  {
    const std::lock_guard lock(streams_mutex);
    if (streams.erase(stream) == 0) {
      violation("cudaStreamDestroy was given no stream");
      return cudaErrorInvalidResourceHandle;
    }
  }
  if (!stream->pending.empty() && simulator::sticky() == cudaSuccess) {
    violation("a stream was destroyed with work in it, whose memory may be gone");
  }
  delete stream;
  simulator::count_live("stream", -1);
  return must_fail("cudaStreamDestroy") ? cudaErrorInvalidValue : simulator::sticky();
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) { return simulator::synchronize(stream); }

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  if (const cudaError_t status = refused("cudaStreamBeginCapture"); status != cudaSuccess) return status;
  if (must_fail("cudaStreamBeginCapture")) return cudaErrorStreamCaptureUnsupported;
  if (!exists(stream) || stream->capturing) {
    violation("cudaStreamBeginCapture was given no stream, or one that is being captured");
    return cudaErrorIllegalState;
  }
  stream->capturing = true;
  stream->capture_valid = true;
  stream->captured = std::make_unique<CUgraph_st>();
  stream->last = nullptr;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = nullptr;
  if (!exists(stream) || !stream->capturing) {
    violation("cudaStreamEndCapture was given a stream that is not being captured");
    return cudaErrorIllegalState;
  }
  stream->capturing = false;
  const std::unique_ptr<CUgraph_st> captured = std::move(stream->captured);
  if (must_fail("cudaStreamEndCapture") || !stream->capture_valid) return cudaErrorStreamCaptureInvalidated;
  if (!captured->nodes.empty() && stream->last != &captured->nodes.back())
    violation("a capture ended with work that the stream does not wait for");
  *graph = new CUgraph_st(std::move(*captured));
  simulator::count_live("graph", 1);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  return simulator::instantiate(executable, graph);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (const cudaError_t status = refused("cudaGraphLaunch"); status != cudaSuccess) return status;
  if (must_fail("cudaGraphLaunch")) return fail_for_good(cudaErrorLaunchFailure);
  if (!simulator::launch(executable, stream)) {
    violation("cudaGraphLaunch was given no stream");
    return cudaErrorInvalidResourceHandle;
  }
  simulator::count_event("replay");
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  simulator::count_live("graph", -1);
  return must_fail("cudaGraphDestroy") ? cudaErrorInvalidValue : simulator::sticky();
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return simulator::destroy(executable); }

}  // extern "C"

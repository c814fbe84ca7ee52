// The state of the simulated device, shared by the stand-ins for CUDA and TensorRT. Nothing here is NVIDIA's: it shows
// that our host code follows the documented rules, not how a GPU, a driver or TensorRT behaves.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#define SIMULATOR_EXPORT __attribute__((visibility("default")))

namespace simulator {

/// An environment variable NAVIT_EDGE_SIM_<name> as a number.
SIMULATOR_EXPORT long setting(const char* name, long otherwise);

/// Counts a call and says whether it is the one that has to fail.
SIMULATOR_EXPORT bool must_fail(const char* call);

/// Writes down a documented rule that the caller broke. Tests demand that there is none.
SIMULATOR_EXPORT void violation(const std::string& rule);

// What threads may do at once is what NVIDIA documents: contexts and streams belong to one thread at a time and are not
// locked here; an engine is read by many; allocation functions may be called from anywhere. Nothing else orders
// threads, since the thread sanitizer would take that for the host's own order.

/// Counts objects of a kind that exist: +1 where one is made, -1 where it goes.
SIMULATOR_EXPORT void count_live(const char* kind, int change);

/// Counts what happened, as "replay".
SIMULATOR_EXPORT void count_event(const char* kind);

/// An error after which CUDA refuses everything in this process.
SIMULATOR_EXPORT void set_sticky(cudaError_t status);
SIMULATOR_EXPORT cudaError_t sticky();
/// The sticky error, if any. A thread that has been told of it breaks a rule by calling on.
SIMULATOR_EXPORT cudaError_t refused(const char* call);

/// Device addresses cannot be read by the host, as on a real device: where their bytes are kept, or null where
/// [address, address + bytes) does not lie in one allocation.
SIMULATOR_EXPORT void* bytes_at(const void* address, std::size_t bytes);
/// Whether [address, address + bytes) lies in one page-locked allocation.
SIMULATOR_EXPORT bool is_pinned(const void* address, std::size_t bytes);
/// Whether no pass of another stream works in `arena`; it is `stream`'s until it is left.
SIMULATOR_EXPORT bool take_arena(const void* arena, cudaStream_t stream);
SIMULATOR_EXPORT void leave_arena(const void* arena);
SIMULATOR_EXPORT void* allocate_device(std::size_t bytes);
SIMULATOR_EXPORT void* allocate_pinned(std::size_t bytes, bool mapped);
SIMULATOR_EXPORT void* device_address_of(const void* pinned);
SIMULATOR_EXPORT bool release_device(const void* address);
SIMULATOR_EXPORT bool release_pinned(const void* address);
SIMULATOR_EXPORT std::size_t free_bytes();
SIMULATOR_EXPORT std::size_t all_bytes();

/// Work of a stream. It runs when the stream is synchronized and not before, so that a result that is read too early or
/// an input that is changed too early shows in the numbers.
using Work = std::function<cudaError_t()>;
SIMULATOR_EXPORT bool push(cudaStream_t stream, Work work);  // false where there is no such stream
SIMULATOR_EXPORT bool is_capturing(cudaStream_t stream);
SIMULATOR_EXPORT void invalidate_capture(cudaStream_t stream);
SIMULATOR_EXPORT bool launch(cudaGraphExec_t executable, cudaStream_t stream);  // likewise

/// What the functions of the runtime and of the driver have in common. The driver's do not call the runtime's by their
/// names: where PyTorch has opened NVIDIA's runtime, those are NVIDIA's.
SIMULATOR_EXPORT cudaError_t synchronize(cudaStream_t stream);
SIMULATOR_EXPORT cudaError_t instantiate(cudaGraphExec_t* executable, cudaGraph_t graph);
SIMULATOR_EXPORT cudaError_t destroy(cudaGraphExec_t executable);

}  // namespace simulator

// What CUDA's handles point to.

struct CUgraphNode_st {
  simulator::Work work;
};
struct CUgraph_st {
  std::deque<CUgraphNode_st> nodes;  // each after the one before it
};
struct CUgraphExec_st {
  std::deque<CUgraphNode_st> nodes;
};
struct CUstream_st {
  std::deque<simulator::Work> pending;
  bool capturing = false;
  bool capture_valid = true;
  std::unique_ptr<CUgraph_st> captured;
  cudaGraphNode_t last = nullptr;  // of the capture: what the stream's next work comes after
};

// What this backend owns of CUDA, each thing released by its owner.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "library.h"
#include "navit_edge/error.h"

namespace navit_edge::tensorrt {

/// A CUDA call that failed.
class CudaError : public BackendError {
 public:
  CudaError(cudaError_t status, const std::string& message) : BackendError(message), status_(status) {}
  [[nodiscard]] cudaError_t status() const noexcept { return status_; }

 private:
  cudaError_t status_;
};

/// Throws CudaError unless `status` is success. `what` names the call in words: "copying patches to the GPU".
void check(const Api& api, cudaError_t status, const std::string& what);

/// A CUDA object and the function that releases it. What releasing says is dropped: the object is gone, and an error of
/// an earlier run has been reported by that run.
template <class Handle>
class Owned {
 public:
  using Release = cudaError_t (*)(Handle);

  Owned() = default;
  Owned(Handle handle, Release release) noexcept : handle_(handle), release_(release) {}
  Owned(Owned&& other) noexcept
      : handle_(std::exchange(other.handle_, nullptr)), release_(std::exchange(other.release_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    std::swap(release_, other.release_);
    return *this;
  }
  ~Owned() {
    if (handle_ != nullptr) static_cast<void>(release_(handle_));
  }

  [[nodiscard]] Handle get() const noexcept { return handle_; }
  explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  Handle handle_ = nullptr;
  Release release_ = nullptr;
};

using Stream = Owned<cudaStream_t>;
using DeviceMemory = Owned<void*>;
using PinnedMemory = Owned<void*>;
using Graph = Owned<cudaGraph_t>;
using ExecutableGraph = Owned<cudaGraphExec_t>;

Stream make_stream(const Api& api);
DeviceMemory allocate_device(const Api& api, std::size_t bytes);
/// Page-locked host memory; `mapped`: the GPU reads and writes it in place.
PinnedMemory allocate_pinned(const Api& api, std::size_t bytes, bool mapped);

/// The GPU that runs an engine.
struct Device {
  std::string name;         // "Orin"
  int capability = 0;       // 87 for 8.7
  bool integrated = false;  // shares its memory with the CPU
};

/// Makes GPU `ordinal` the calling thread's, and describes it. Throws if there is no such GPU.
Device use_device(const Library& library, int ordinal);

/// Throws BackendError if an engine built for `target` ("sm86+sm89", "ampere+") does not run on `device`.
void require_target(const Device& device, const std::string& target);

/// "512.0 MiB of 8192.0 MiB", or "an unknown amount" if CUDA does not say.
std::string free_memory(const Api& api);

/// "512.0 MiB"
std::string mebibytes(std::size_t bytes);

}  // namespace navit_edge::tensorrt

// The vendor's libraries, opened on demand: one table of every symbol that this backend calls.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <string>

#include "options.h"
#include "tensorrt_api.h"

namespace navit_edge::tensorrt {

// The driver's functions; declared here, so that cuda.h is not needed.
extern "C" {
using CuInitFn = int(unsigned int flags);
using CuDriverGetVersionFn = int(int* version);
using CuDeviceGetNameFn = int(char* name, int length, int device);
using CreateRuntimeFn = void*(void* logger, std::int32_t version) noexcept;
using LibraryVersionFn = std::int32_t() noexcept;
}

/// Every call that this backend makes into NVIDIA's libraries outside of TensorRT's own classes.
struct Api {
  // libcuda
  CuInitFn* cuInit = nullptr;
  CuDriverGetVersionFn* cuDriverGetVersion = nullptr;
  CuDeviceGetNameFn* cuDeviceGetName = nullptr;
  // libcudart
  // clang-format off
#define NAVIT_EDGE_CUDA_SYMBOLS(X) \
  X(cudaGetDeviceCount) X(cudaSetDevice) X(cudaDeviceGetAttribute) X(cudaMemGetInfo) X(cudaGetErrorName) \
  X(cudaGetErrorString) X(cudaGetLastError) X(cudaMalloc) X(cudaFree) X(cudaHostAlloc) X(cudaFreeHost) \
  X(cudaHostGetDevicePointer) X(cudaMemcpyAsync) X(cudaStreamCreateWithFlags) X(cudaStreamDestroy) \
  X(cudaStreamSynchronize) X(cudaStreamBeginCapture) X(cudaStreamEndCapture) X(cudaGraphInstantiateWithFlags) \
  X(cudaGraphLaunch) X(cudaGraphDestroy) X(cudaGraphExecDestroy)
// clang-format on
#define NAVIT_EDGE_DECLARE(name) decltype(&::name) name = nullptr;
  NAVIT_EDGE_CUDA_SYMBOLS(NAVIT_EDGE_DECLARE)
#undef NAVIT_EDGE_DECLARE
  // libnvinfer or its lean runtime
  CreateRuntimeFn* createInferRuntime_INTERNAL = nullptr;
  LibraryVersionFn* getInferLibVersion = nullptr;
};

/// The libraries of this process, with their versions checked.
struct Library {
  Api api;
  int driver_version = 0;                          // CUDA's, as 1000 * major + 10 * minor
  int device_count = 0;                            // at least 1
  std::int32_t version = 0;                        // TensorRT's, as its headers count
  std::string path;                                // the file that was opened
  std::string found;                               // where it was found and what was passed over, in words
  std::string runtime_found;                       // the CUDA runtime, likewise
  [[nodiscard]] std::string version_text() const;  // "10.15.1"
  [[nodiscard]] std::string driver_text() const;   // "CUDA 12.8"
};

/// Opens the libraries once a process and sees to it that driver, versions and a GPU are there before anything else is
/// called: without a driver, TensorRT's runtime is a pointer that is neither null nor usable. Throws BackendError; a
/// later call tries again.
const Library& library(const Options& options);

/// "10.15.1" of a version as the headers of this build count it.
std::string version_words(std::int32_t version);

}  // namespace navit_edge::tensorrt

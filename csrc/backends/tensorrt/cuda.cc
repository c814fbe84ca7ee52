#include "cuda.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <sstream>
#include <string_view>

#include "rtx_capabilities.h"

namespace navit_edge::tensorrt {
namespace {

int attribute(const Api& api, cudaDeviceAttr which, int ordinal) {
  int value = 0;
  check(api, api.cudaDeviceGetAttribute(&value, which, ordinal), "asking for an attribute of the GPU");
  return value;
}

}  // namespace

void check(const Api& api, cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  static_cast<void>(api.cudaGetLastError());  // it is reported here: the next call must not find it
  throw CudaError(status,
                  what + " failed: " + api.cudaGetErrorName(status) + " (" + api.cudaGetErrorString(status) + ")");
}

Stream make_stream(const Api& api) {
  cudaStream_t stream = nullptr;
  check(api, api.cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  return {stream, api.cudaStreamDestroy};
}

DeviceMemory allocate_device(const Api& api, std::size_t bytes) {
  void* memory = nullptr;
  check(api, api.cudaMalloc(&memory, bytes), "allocating " + mebibytes(bytes) + " on the GPU");
  return {memory, api.cudaFree};
}

PinnedMemory allocate_pinned(const Api& api, std::size_t bytes, bool mapped) {
  void* memory = nullptr;
  check(api, api.cudaHostAlloc(&memory, bytes, mapped ? cudaHostAllocMapped : cudaHostAllocDefault),
        "page-locking " + mebibytes(bytes) + " of host memory");
  return {memory, api.cudaFreeHost};
}

Device use_device(const Library& library, int ordinal) {
  const Api& api = library.api;
  if (ordinal >= library.device_count) {
    throw BackendError("option cuda_device is " + std::to_string(ordinal) + "; CUDA finds " +
                       std::to_string(library.device_count) + " GPUs, numbered from 0; name one of them");
  }
  check(api, api.cudaSetDevice(ordinal), "taking GPU " + std::to_string(ordinal));
  Device device;
  std::array<char, 128> name{};
  if (api.cuDeviceGetName(name.data(), static_cast<int>(name.size()) - 1, ordinal) == 0) device.name = name.data();
  if (device.name.empty()) device.name = "GPU " + std::to_string(ordinal);
  device.capability = 10 * attribute(api, cudaDevAttrComputeCapabilityMajor, ordinal) +
                      attribute(api, cudaDevAttrComputeCapabilityMinor, ordinal);
  device.integrated =
      attribute(api, cudaDevAttrIntegrated, ordinal) != 0 && attribute(api, cudaDevAttrCanMapHostMemory, ordinal) != 0;
  return device;
}

void require_target(const Device& device, const std::string& target) {
  if (target.empty()) return;
  if (target == "ampere+") {
    if (device.capability >= 80) return;
  } else {
    std::istringstream parts(target);
    for (std::string part; std::getline(parts, part, '+');) {
      int capability = 0;
      const std::string_view digits = std::string_view(part).substr(part.starts_with("sm") ? 2 : 0);
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), capability);
      if (error != std::errc() || end != digits.data() + digits.size()) {
        throw BackendError("the engine's target is '" + target +
                           "'; expected compute capabilities, as sm86+sm89; rebuild it");
      }
      if (capability == device.capability) return;
    }
  }
  throw BackendError("the engine was built for " + target + "; this GPU (" + device.name + ") is sm" +
                     std::to_string(device.capability) + "; build one here: navit-edge build-engine BUNDLE --backend " +
                     std::string(builder_for(NAVIT_EDGE_TENSORRT_BACKEND, device.capability)));
}

std::string free_memory(const Api& api) {
  std::size_t free_bytes = 0;
  std::size_t all_bytes = 0;
  if (api.cudaMemGetInfo(&free_bytes, &all_bytes) != cudaSuccess) {
    static_cast<void>(api.cudaGetLastError());
    return "an unknown amount";
  }
  return mebibytes(free_bytes) + " of " + mebibytes(all_bytes);
}

std::string mebibytes(std::size_t bytes) {
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text.data();
}

}  // namespace navit_edge::tensorrt

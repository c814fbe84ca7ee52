// TensorRT's interface, and all that differs between its major versions and TensorRT-RTX. Nothing of it is linked.
#pragma once

#include <NvInferRuntime.h>

#include <array>
#include <cstdint>

#include "navit_edge/backend_abi.h"

#if defined(NAVIT_EDGE_TENSORRT_RTX) != defined(TRT_MAJOR_RTX)
#error \
    "the headers of TensorRT and of TensorRT-RTX do not stand in for each other: check TensorRT_ROOT, TensorRT_RTX_ROOT"
#elif defined(NAVIT_EDGE_TENSORRT_RTX)
#define NAVIT_EDGE_TENSORRT_PRODUCT "TensorRT-RTX"
#define NAVIT_EDGE_TENSORRT_BACKEND "tensorrt-rtx"
#elif NV_TENSORRT_MAJOR == 10 || NV_TENSORRT_MAJOR == 11
#define NAVIT_EDGE_TENSORRT_PRODUCT "TensorRT"
#define NAVIT_EDGE_TENSORRT_BACKEND "tensorrt"
#else
#error "navit-edge speaks TensorRT 10 and 11: give the headers of one of them (TensorRT_ROOT)"
#endif

namespace navit_edge::tensorrt {

/// A library of another major version has another layout of its classes: no call into it is safe.
inline constexpr std::int32_t kHeadersMajor = NV_TENSORRT_MAJOR;
inline constexpr std::int32_t kHeadersVersion = NV_TENSORRT_VERSION;

#if defined(NAVIT_EDGE_TENSORRT_RTX)
inline constexpr std::int32_t kOldestVersion = 10000;  // 1.0.0, as major * 10000 + minor * 100 + patch
inline constexpr std::array kLibraryNames = {"libtensorrt_rtx.so.1"};
inline constexpr const char* kInstall = "NVIDIA's TensorRT-RTX archive, or pip install tensorrt-rtx-cu12";
#elif NV_TENSORRT_MAJOR == 10
inline constexpr std::int32_t kOldestVersion = 100300;
inline constexpr std::array kLibraryNames = {"libnvinfer.so.10", "libnvinfer_lean.so.10"};
inline constexpr const char* kInstall =
    "on a Jetson: sudo apt install nvidia-jetpack; elsewhere: sudo apt install libnvinfer10, or pip install "
    "tensorrt-lean-cu12-libs for version-compatible engines";
#else
inline constexpr std::int32_t kOldestVersion = 110000;
inline constexpr std::array kLibraryNames = {"libnvinfer.so.11", "libnvinfer_lean.so.11"};
inline constexpr const char* kInstall =
    "on a Jetson: sudo apt install nvidia-jetpack; elsewhere: sudo apt install libnvinfer11";
#endif

/// A context that brings no memory of its own: `lend_arena` gives it some. Null if the library refuses.
inline nvinfer1::IExecutionContext* make_context(nvinfer1::ICudaEngine& engine) {
  return engine.createExecutionContext(nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
}

/// Device bytes that a context of `profile` computes in.
inline std::int64_t arena_bytes(const nvinfer1::ICudaEngine& engine, std::int32_t profile) {
  return engine.getDeviceMemorySizeForProfileV2(profile);
}

inline void lend_arena(nvinfer1::IExecutionContext& context, void* memory, std::int64_t bytes) {
  context.setDeviceMemoryV2(memory, bytes);
}

}  // namespace navit_edge::tensorrt

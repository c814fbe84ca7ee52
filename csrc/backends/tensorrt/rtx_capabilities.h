// The GPUs that TensorRT-RTX compiles for, and which backend builds for a GPU.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace navit_edge::tensorrt {

/// Of TensorRT-RTX 1.7; COMPUTE_CAPABILITIES of navit_edge/compile/targets.py is the same list, and a test compares
/// them.
inline constexpr std::array kRtxCapabilities = {75, 80, 86, 89, 120, 121};

/// Which backend an owner of this GPU builds with: `backend`, or TensorRT if that is TensorRT-RTX and refuses the GPU.
constexpr std::string_view builder_for(std::string_view backend, int capability) {
  const bool known = std::find(kRtxCapabilities.begin(), kRtxCapabilities.end(), capability) != kRtxCapabilities.end();
  return backend == "tensorrt-rtx" && !known ? "tensorrt" : backend;
}

static_assert(builder_for("tensorrt-rtx", 89) == "tensorrt-rtx");
static_assert(builder_for("tensorrt-rtx", 90) == "tensorrt");  // Hopper: TensorRT, not TensorRT-RTX
static_assert(builder_for("tensorrt", 90) == "tensorrt");

}  // namespace navit_edge::tensorrt

#include "resize_kernels.h"

#include "resize_kernels_body.h"

namespace navit_edge {
namespace {

/// Any machine: the compiler makes of it what the baseline offers (SSE2, NEON).
struct Portable {
  struct Ints {
    std::int32_t lane[kLanes];
  };

  static void fill(Ints& ints, std::int32_t value) {
    for (std::int32_t& lane : ints.lane) lane = value;
  }

  static void add_product(Ints& sum, const std::uint8_t* pixels, std::int32_t weight) {
    for (std::size_t i = 0; i < kLanes; ++i) sum.lane[i] += pixels[i] * weight;
  }

  static void store_clipped(const Ints& sum, std::uint8_t* out) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      const std::int32_t value = sum.lane[i] >> kWeightBits;
      out[i] = static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
    }
  }
};

}  // namespace

const ResizeKernels kResizePortable = kernels_of<Portable>();

SimdLevel best_simd_level() noexcept {
#if defined(__x86_64__)
  static const SimdLevel level = __builtin_cpu_supports("avx2") ? SimdLevel::kAvx2 : SimdLevel::kPortable;
  return level;
#else
  return SimdLevel::kPortable;
#endif
}

const ResizeKernels& resize_kernels(SimdLevel level) noexcept {
  switch (level) {
#if defined(__x86_64__)
    case SimdLevel::kAvx2:
      return kResizeAvx2;
#endif
    default:
      return kResizePortable;
  }
}

}  // namespace navit_edge

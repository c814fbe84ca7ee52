#include "pixels/kernels/resize_body.h"
#include "pixels/kernels/resize_kernels.h"

namespace navit_edge {
namespace {

/// Any machine: vectors of 16 bytes, of which the compiler makes what the baseline offers (SSE2, NEON).
struct Portable {
  static constexpr int kLanes = 4;
  static constexpr int kWords = 4;  // a word a tap
  using Ints = Words;
  using Sums = Words;
  struct Weights {
    std::int32_t tap[4];
  };

  static void encode(const std::int32_t* weight, std::int32_t* words) { std::memcpy(words, weight, 16); }
  static Weights weights(const std::int32_t* words) { return {{words[0], words[1], words[2], words[3]}}; }
  static void clear(Sums& sum) { sum = Words{}; }

  static void add(Sums& sum, const std::uint8_t* quads, const Weights& w) {
    Words q;  // little-endian: the first tap is the lowest byte
    std::memcpy(&q, quads, sizeof(q));
    sum += (q & 255) * w.tap[0] + ((q >> 8) & 255) * w.tap[1] + ((q >> 16) & 255) * w.tap[2] +
           ((q >> 24) & 255) * w.tap[3];
  }

  static Ints total(const Sums& sum, std::int32_t start) { return sum + start; }

  static Bytes clipped(Ints value) {
    value >>= kWeightBits;
    value = value < 0 ? Words{} : value;
    value = value > 255 ? Words{} + 255 : value;
    return reinterpret_cast<Bytes>(value);
  }

  /// Four vectors of four values each, in order.
  static void store_row(const Ints* total, std::uint8_t* out) {
    const Bytes ab = shuffle<0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0>(clipped(total[0]), clipped(total[1]));
    const Bytes cd = shuffle<0, 4, 8, 12, 16, 20, 24, 28, 0, 0, 0, 0, 0, 0, 0, 0>(clipped(total[2]), clipped(total[3]));
    const Bytes all = shuffle<0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23>(ab, cd);
    std::memcpy(out, &all, sizeof(all));
  }

  /// Four columns of four rows are four quads of a line.
  static void store_lines(const Ints* total, std::uint8_t* const* lines, std::size_t at) {
    store_row(total, lines[0] + at);
  }
};

}  // namespace

const ResizeKernels kResizePortable = {
    Portable::kWords, 0, Portable::encode, spread_rows, across<Portable>, interleave_rows, down<Portable>};

const ResizeKernels& resize_kernels(SimdLevel level) noexcept {
  switch (level) {
#if defined(__x86_64__)
    case SimdLevel::kAvx2:
      return kResizeAvx2;
    case SimdLevel::kAvx512:
      return kResizeAvx512;
#elif defined(__aarch64__)
    case SimdLevel::kNeon:
      return kResizeNeon;
#endif
    default:
      return kResizePortable;
  }
}

}  // namespace navit_edge

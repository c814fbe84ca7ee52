// Compiled with the dot-product extension on 64-bit ARM (Armv8.2 dotprod: Cortex-A55, A75 and later); empty elsewhere.
// Older cores run the portable loops, which the compiler makes NEON of, too.
#if defined(__aarch64__)

#include <arm_neon.h>

#include "pixels/kernels/resize_body.h"

namespace navit_edge {
namespace {

/// Dot products of four signed bytes, so pixels are taken less 128; a weight is three signed digits to the base of 256.
struct Neon {
  static constexpr int kLanes = 4;
  static constexpr int kWords = 3;
  using Ints = int32x4_t;
  struct Sums {
    int32x4_t high, middle, low;
  };
  struct Weights {
    int8x16_t high, middle, low;
  };

  static int8x16_t same(std::int32_t word) { return vreinterpretq_s8_s32(vdupq_n_s32(word)); }
  static Weights weights(const std::int32_t* words) { return {same(words[0]), same(words[1]), same(words[2])}; }
  static void clear(Sums& sum) { sum.high = sum.middle = sum.low = vdupq_n_s32(0); }

  static void add(Sums& sum, const std::uint8_t* quads, const Weights& w) {
    const int8x16_t q = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(quads), vdupq_n_u8(128)));
    sum.high = vdotq_s32(sum.high, q, w.high);
    sum.middle = vdotq_s32(sum.middle, q, w.middle);
    sum.low = vdotq_s32(sum.low, q, w.low);
  }

  static Ints total(const Sums& sum, std::int32_t start) {
    const int32x4_t upper = vaddq_s32(vshlq_n_s32(sum.high, 16), vshlq_n_s32(sum.middle, 8));
    return vshrq_n_s32(vaddq_s32(upper, vaddq_s32(sum.low, vdupq_n_s32(start))), kWeightBits);
  }

  static void store_row(const Ints* total, std::uint8_t* out) {
    const int16x8_t ab = vcombine_s16(vqmovn_s32(total[0]), vqmovn_s32(total[1]));
    const int16x8_t cd = vcombine_s16(vqmovn_s32(total[2]), vqmovn_s32(total[3]));
    vst1q_u8(out, vcombine_u8(vqmovun_s16(ab), vqmovun_s16(cd)));
  }

  static void store_lines(const Ints* total, std::uint8_t* const* lines, std::size_t at) {
    store_row(total, lines[0] + at);
  }
};

}  // namespace

const ResizeKernels kResizeNeon = {Neon::kWords,    128,       encode_digits, spread_rows, across<Neon>,
                                   interleave_rows, down<Neon>};

}  // namespace navit_edge

#endif

// Compiled with AVX2 on x86-64; empty elsewhere.
#if defined(__x86_64__)

#include <immintrin.h>

#include "pixels/kernels/resize_body.h"

namespace navit_edge {
namespace {

/// A weight is hi * 2^12 + lo, so that both parts fit the 16-bit multiply-add.
struct Avx2 {
  static constexpr int kLanes = 8;
  static constexpr int kWords = 4;  // (hi, lo) of taps 0 and 2, (hi, lo) of taps 1 and 3
  using Ints = __m256i;
  struct Sums {
    __m256i hi, lo;
  };
  struct Weights {
    __m256i hi02, lo02, hi13, lo13;
  };

  static void encode(const std::int32_t* weight, std::int32_t* words) {
    const auto pair = [](std::int32_t a, std::int32_t b) {
      return static_cast<std::int32_t>((static_cast<std::uint32_t>(a) & 0xFFFF) |
                                       (static_cast<std::uint32_t>(b) << 16));
    };
    for (int odd = 0; odd < 2; ++odd) {
      words[2 * odd] = pair(weight[odd] >> 12, weight[odd + 2] >> 12);
      words[2 * odd + 1] = pair(weight[odd] & 4095, weight[odd + 2] & 4095);
    }
  }

  static Weights weights(const std::int32_t* words) {
    return {_mm256_set1_epi32(words[0]), _mm256_set1_epi32(words[1]), _mm256_set1_epi32(words[2]),
            _mm256_set1_epi32(words[3])};
  }

  static void clear(Sums& sum) { sum.hi = sum.lo = _mm256_setzero_si256(); }

  static void add(Sums& sum, const std::uint8_t* quads, const Weights& w) {
    const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(quads));
    const __m256i even = _mm256_and_si256(q, _mm256_set1_epi16(255));
    const __m256i odd = _mm256_srli_epi16(q, 8);
    sum.hi = _mm256_add_epi32(sum.hi, _mm256_madd_epi16(even, w.hi02));
    sum.lo = _mm256_add_epi32(sum.lo, _mm256_madd_epi16(even, w.lo02));
    sum.hi = _mm256_add_epi32(sum.hi, _mm256_madd_epi16(odd, w.hi13));
    sum.lo = _mm256_add_epi32(sum.lo, _mm256_madd_epi16(odd, w.lo13));
  }

  static Ints total(const Sums& sum, std::int32_t start) {
    const __m256i whole = _mm256_add_epi32(_mm256_slli_epi32(sum.hi, 12), sum.lo);
    return _mm256_srai_epi32(_mm256_add_epi32(whole, _mm256_set1_epi32(start)), kWeightBits);
  }

  /// Packing saturates, which is the clipping; it works within halves: half h holds word h of each of the four.
  static __m256i packed(const Ints* total) {
    return _mm256_packus_epi16(_mm256_packs_epi32(total[0], total[1]), _mm256_packs_epi32(total[2], total[3]));
  }

  static void store_row(const Ints* total, std::uint8_t* out) {
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(packed(total), order));
  }

  static void store_lines(const Ints* total, std::uint8_t* const* lines, std::size_t at) {
    const __m256i bytes = packed(total);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(lines[0] + at), _mm256_castsi256_si128(bytes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(lines[1] + at), _mm256_extracti128_si256(bytes, 1));
  }
};

}  // namespace

const ResizeKernels kResizeAvx2 = {Avx2::kWords,    0,         Avx2::encode, spread_rows, across<Avx2>,
                                   interleave_rows, down<Avx2>};

}  // namespace navit_edge

#endif

// Compiled with AVX-512 F, BW, VL and VNNI on x86-64; empty elsewhere.
#if defined(__x86_64__)

#include <immintrin.h>

#include "pixels/kernels/resize_body.h"

namespace navit_edge {
namespace {

/// Dot products of four bytes: a weight is three signed digits to the base of 256.
struct Avx512 {
  static constexpr int kLanes = 16;
  static constexpr int kWords = 3;
  using Ints = __m512i;
  struct Sums {
    __m512i high, middle, low;
  };
  struct Weights {
    __m512i high, middle, low;
  };

  static Weights weights(const std::int32_t* words) {
    return {_mm512_set1_epi32(words[0]), _mm512_set1_epi32(words[1]), _mm512_set1_epi32(words[2])};
  }

  static void clear(Sums& sum) { sum.high = sum.middle = sum.low = _mm512_setzero_si512(); }

  static void add(Sums& sum, const std::uint8_t* quads, const Weights& w) {
    const __m512i q = _mm512_loadu_si512(quads);
    sum.high = _mm512_dpbusd_epi32(sum.high, q, w.high);
    sum.middle = _mm512_dpbusd_epi32(sum.middle, q, w.middle);
    sum.low = _mm512_dpbusd_epi32(sum.low, q, w.low);
  }

  static Ints total(const Sums& sum, std::int32_t start) {
    const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(sum.high, 16), _mm512_slli_epi32(sum.middle, 8));
    const __m512i whole = _mm512_add_epi32(upper, _mm512_add_epi32(sum.low, _mm512_set1_epi32(start)));
    return _mm512_srai_epi32(whole, kWeightBits);
  }

  /// Packing saturates, which is the clipping; it works within quarters: quarter l holds word l of each of the four.
  static __m512i packed(const Ints* total) {
    return _mm512_packus_epi16(_mm512_packs_epi32(total[0], total[1]), _mm512_packs_epi32(total[2], total[3]));
  }

  static void store_row(const Ints* total, std::uint8_t* out) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi32(order, packed(total)));
  }

  static void store_lines(const Ints* total, std::uint8_t* const* lines, std::size_t at) {
    const __m512i bytes = packed(total);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(lines[0] + at), _mm512_castsi512_si128(bytes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(lines[1] + at), _mm512_extracti32x4_epi32(bytes, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(lines[2] + at), _mm512_extracti32x4_epi32(bytes, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(lines[3] + at), _mm512_extracti32x4_epi32(bytes, 3));
  }
};

/// spread_channels, four times as wide: a piece is 48 bytes of each row for 3 channels, else 64.
template <int kChannels>
void spread_wide(const std::uint8_t* const* rows, std::size_t pixels, std::uint8_t* out) {
  constexpr std::size_t kStep = kChannels == 3 ? 48 : 64;
  constexpr int kParts = kChannels == 3 ? 3 : 4;
  const __m512i thirds = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
  const __m512i split =
      _mm512_broadcast_i32x4(kChannels == 3 ? _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1)
                                            : _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const std::size_t bytes = pixels * kChannels;
  for (std::size_t at = 0; at < bytes; at += kStep, out += 4 * kParts * kQuadBytes) {
    const std::size_t left = bytes - at < kStep ? bytes - at : kStep;
    const __mmask64 mask = ~std::uint64_t{0} >> (64 - left);  // nothing behind a row's end is read
    __m512i part[4][kBlockQuads];                             // [channel, or which four pixels][four rows]
    for (int group = 0; group < kBlockQuads; ++group) {
      __m512i row[4];
      for (int r = 0; r < 4; ++r) {
        row[r] = _mm512_maskz_loadu_epi8(mask, rows[4 * group + r] + at);
        if constexpr (kChannels == 3) row[r] = _mm512_permutexvar_epi32(thirds, row[r]);
        if constexpr (kChannels != 1) row[r] = _mm512_shuffle_epi8(row[r], split);
      }
      const __m512i low01 = _mm512_unpacklo_epi32(row[0], row[1]);
      const __m512i low23 = _mm512_unpacklo_epi32(row[2], row[3]);
      const __m512i high01 = _mm512_unpackhi_epi32(row[0], row[1]);
      const __m512i high23 = _mm512_unpackhi_epi32(row[2], row[3]);
      part[0][group] = _mm512_unpacklo_epi64(low01, low23);
      part[1][group] = _mm512_unpackhi_epi64(low01, low23);
      part[2][group] = _mm512_unpacklo_epi64(high01, high23);
      part[3][group] = _mm512_unpackhi_epi64(high01, high23);
    }
    for (int k = 0; k < kParts; ++k) {
      const __m512i a = _mm512_shuffle_i32x4(part[k][0], part[k][1], 0x44);
      const __m512i b = _mm512_shuffle_i32x4(part[k][2], part[k][3], 0x44);
      const __m512i c = _mm512_shuffle_i32x4(part[k][0], part[k][1], 0xEE);
      const __m512i d = _mm512_shuffle_i32x4(part[k][2], part[k][3], 0xEE);
      std::uint8_t* to = out + static_cast<std::size_t>(k) * kQuadBytes;
      _mm512_storeu_si512(to, _mm512_shuffle_i32x4(a, b, 0x88));
      _mm512_storeu_si512(to + kParts * kQuadBytes, _mm512_shuffle_i32x4(a, b, 0xDD));
      _mm512_storeu_si512(to + 2 * kParts * kQuadBytes, _mm512_shuffle_i32x4(c, d, 0x88));
      _mm512_storeu_si512(to + 3 * kParts * kQuadBytes, _mm512_shuffle_i32x4(c, d, 0xDD));
    }
  }
}

void spread_avx512(const std::uint8_t* const* rows, std::size_t pixels, std::int32_t channels, std::uint8_t* out) {
  switch (channels) {
    case 1:
      return spread_wide<1>(rows, pixels, out);
    case 3:
      return spread_wide<3>(rows, pixels, out);
    default:
      return spread_wide<4>(rows, pixels, out);
  }
}

}  // namespace

const ResizeKernels kResizeAvx512 = {Avx512::kWords,  0,           encode_digits, spread_avx512, across<Avx512>,
                                     interleave_rows, down<Avx512>};

}  // namespace navit_edge

#endif

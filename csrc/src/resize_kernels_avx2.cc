// Compiled with AVX2 on x86-64; empty elsewhere.
#if defined(__x86_64__)

#include <immintrin.h>

#include "resize_kernels_body.h"

namespace navit_edge {
namespace {

struct Avx2 {
  struct Ints {
    __m256i low, high;
  };

  static void fill(Ints& ints, std::int32_t value) { ints.low = ints.high = _mm256_set1_epi32(value); }

  static void add_product(Ints& sum, const std::uint8_t* pixels, std::int32_t weight) {
    const __m256i w = _mm256_set1_epi32(weight);
    const __m256i low = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels)));
    const __m256i high = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(pixels + 8)));
    sum.low = _mm256_add_epi32(sum.low, _mm256_mullo_epi32(low, w));
    sum.high = _mm256_add_epi32(sum.high, _mm256_mullo_epi32(high, w));
  }

  static void store_clipped(const Ints& sum, std::uint8_t* out) {
    // Packing saturates; it works within halves, so the middle quarters change places.
    const __m256i words = _mm256_permute4x64_epi64(
        _mm256_packs_epi32(_mm256_srai_epi32(sum.low, kWeightBits), _mm256_srai_epi32(sum.high, kWeightBits)), 0xD8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out),
                     _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
  }
};

}  // namespace

const ResizeKernels kResizeAvx2 = kernels_of<Avx2>();

}  // namespace navit_edge

#endif

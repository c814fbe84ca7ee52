// The inner loops themselves, over a Simd type that knows three things about 16 lanes of int32. Included by one source
// file for each instruction set, which the build compiles with that set's flags. Everything here has internal linkage
// and no standard library function is called, so that no code of a wider set can leak into the rest of the program.
#pragma once

#include <cstring>

#include "resize_kernels.h"

namespace navit_edge {
namespace {

constexpr std::size_t kLanes = 16;
constexpr std::int32_t kHalf = std::int32_t{1} << (kWeightBits - 1);

using Bytes [[maybe_unused]] = std::uint8_t __attribute__((vector_size(16)));

template <class Simd, std::size_t kVectors>
inline void down_block(const std::uint8_t* const* rows, const std::int32_t* weight, std::int32_t taps, std::size_t at,
                       std::uint8_t* out) {
  typename Simd::Ints sum[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) Simd::fill(sum[v], kHalf);
  for (std::int32_t t = 0; t < taps; ++t) {
    for (std::size_t v = 0; v < kVectors; ++v) Simd::add_product(sum[v], rows[t] + at + v * kLanes, weight[t]);
  }
  for (std::size_t v = 0; v < kVectors; ++v) Simd::store_clipped(sum[v], out + at + v * kLanes);
}

template <class Simd>
void down(const std::uint8_t* const* rows, const std::int32_t* weight, std::int32_t taps, std::size_t bytes,
          std::uint8_t* out) {
  std::size_t at = 0;
  for (; at + 4 * kLanes <= bytes; at += 4 * kLanes) down_block<Simd, 4>(rows, weight, taps, at, out);
  for (; at + kLanes <= bytes; at += kLanes) down_block<Simd, 1>(rows, weight, taps, at, out);
  if (at == bytes) return;
  if (bytes >= kLanes) {  // once more over the last full vector
    down_block<Simd, 1>(rows, weight, taps, bytes - kLanes, out);
    return;
  }
  for (; at < bytes; ++at) {
    std::int32_t sum = kHalf;
    for (std::int32_t t = 0; t < taps; ++t) sum += rows[t][at] * weight[t];
    sum >>= kWeightBits;
    out[at] = static_cast<std::uint8_t>(sum < 0 ? 0 : sum > 255 ? 255 : sum);
  }
}

template <class Simd>
void across(const std::uint8_t* in, const std::int32_t* first, const std::int32_t* count, const std::int32_t* weight,
            std::int32_t taps, std::int32_t out_width, std::uint8_t* out) {
  constexpr std::size_t kPixel = kChannels * kLanes;
  for (std::int32_t x = 0; x < out_width; ++x) {
    const std::uint8_t* pixels = in + static_cast<std::size_t>(first[x]) * kPixel;
    typename Simd::Ints sum[kChannels];
    for (std::size_t c = 0; c < kChannels; ++c) Simd::fill(sum[c], kHalf);
    for (std::int32_t t = 0; t < count[x]; ++t, pixels += kPixel) {
      for (std::size_t c = 0; c < kChannels; ++c) Simd::add_product(sum[c], pixels + c * kLanes, weight[t]);
    }
    for (std::size_t c = 0; c < kChannels; ++c) Simd::store_clipped(sum[c], out + c * kLanes);
    weight += taps;
    out += kPixel;
  }
}

/// 16 x 16 bytes: four rounds of interleaving row i with row i + 8.
inline void transpose(Bytes* m) {
  for (int round = 0; round < 4; ++round) {
    Bytes next[kLanes];
    for (std::size_t i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = __builtin_shufflevector(m[i], m[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      next[2 * i + 1] =
          __builtin_shufflevector(m[i], m[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
    for (std::size_t i = 0; i < kLanes; ++i) m[i] = next[i];
  }
}

inline void to_columns(const std::uint8_t* const* rows, std::size_t bytes, std::uint8_t* columns) {
  Bytes m[kLanes];
  std::size_t at = 0;
  for (; at + kLanes <= bytes; at += kLanes) {
    for (std::size_t r = 0; r < kLanes; ++r) std::memcpy(&m[r], rows[r] + at, kLanes);
    transpose(m);
    std::memcpy(columns + at * kLanes, m, sizeof(m));
  }
  for (; at < bytes; ++at) {
    for (std::size_t r = 0; r < kLanes; ++r) columns[at * kLanes + r] = rows[r][at];
  }
}

inline void to_rows(const std::uint8_t* columns, std::size_t bytes, std::uint8_t* const* rows) {
  Bytes m[kLanes];
  for (std::size_t at = 0; at < bytes; at += kLanes) {
    std::memcpy(m, columns + at * kLanes, sizeof(m));
    transpose(m);
    for (std::size_t r = 0; r < kLanes; ++r) std::memcpy(rows[r] + at, &m[r], kLanes);
  }
}

template <class Simd>
constexpr ResizeKernels kernels_of() {
  return {down<Simd>, across<Simd>, to_columns, to_rows};
}

}  // namespace
}  // namespace navit_edge

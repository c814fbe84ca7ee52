// The vectors that the kernels share. Included by one source file for each instruction set: see resize_body.h for the
// rules.
#pragma once

#include <cstdint>

namespace navit_edge {
namespace {

using Bytes [[maybe_unused]] = std::uint8_t __attribute__((vector_size(16)));
using Words [[maybe_unused]] = std::int32_t __attribute__((vector_size(16)));

/// Lanes of ``a`` and, behind them, of ``b``.
template <int... kLanes, class Vector>
[[gnu::always_inline]] inline Vector shuffle(Vector a, Vector b) {
#if __has_builtin(__builtin_shufflevector)
  return __builtin_shufflevector(a, b, kLanes...);
#else  // g++ 11
  using Indices = decltype(a == b);  // of signed integers as wide as the lanes
  return __builtin_shuffle(a, b, Indices{kLanes...});
#endif
}

/// Four rows of four words, transposed. ``out`` may be ``in``.
inline void transpose(const Words* in, Words* out) {
  const Words low01 = shuffle<0, 4, 1, 5>(in[0], in[1]);
  const Words high01 = shuffle<2, 6, 3, 7>(in[0], in[1]);
  const Words low23 = shuffle<0, 4, 1, 5>(in[2], in[3]);
  const Words high23 = shuffle<2, 6, 3, 7>(in[2], in[3]);
  out[0] = shuffle<0, 1, 4, 5>(low01, low23);
  out[1] = shuffle<2, 3, 6, 7>(low01, low23);
  out[2] = shuffle<0, 1, 4, 5>(high01, high23);
  out[3] = shuffle<2, 3, 6, 7>(high01, high23);
}

}  // namespace
}  // namespace navit_edge

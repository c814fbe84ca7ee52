// The inner loops themselves, over a Simd type that knows what a dot product of quads is. Included by one source file
// for each instruction set, which the build compiles with that set's flags. Everything here has internal linkage and no
// standard library function is called, so that no code of a wider set can leak into the rest of the program.
#pragma once

#include <cstring>

#include "pixels/kernels/resize_kernels.h"
#include "pixels/kernels/vectors.h"

namespace navit_edge {
namespace {

constexpr std::size_t kQuadBytes = std::size_t{4} * kBlockRows;  // one quad of one channel, spread

/// Four neighbouring pixels (16 of one channel) -> one word a channel (a word for each four).
template <int kChannels>
inline Bytes split_channels(Bytes pixels) {
  if constexpr (kChannels == 3) {
    return shuffle<0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 12, 13, 14, 15>(pixels, pixels);
  } else if constexpr (kChannels == 4) {
    return shuffle<0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15>(pixels, pixels);
  } else {
    return pixels;
  }
}

/// What 16 bytes of each row give, at `at` bytes into the rows.
template <int kChannels>
inline void spread_piece(const std::uint8_t* const* rows, std::size_t at, std::uint8_t* out) {
  for (int group = 0; group < kBlockQuads; ++group) {
    Words words[4];
    for (int r = 0; r < 4; ++r) {
      Bytes pixels;
      std::memcpy(&pixels, rows[4 * group + r] + at, sizeof(pixels));
      pixels = split_channels<kChannels>(pixels);
      std::memcpy(&words[r], &pixels, sizeof(pixels));
    }
    transpose(words, words);
    for (int k = 0; k < (kChannels == 3 ? 3 : 4); ++k) {
      std::memcpy(out + static_cast<std::size_t>(k) * kQuadBytes + static_cast<std::size_t>(group) * 16, &words[k], 16);
    }
  }
}

template <int kChannels>
void spread_channels(const std::uint8_t* const* rows, std::size_t pixels, std::uint8_t* out) {
  constexpr std::size_t kPixels = kChannels == 1 ? 16 : 4;  // that 16 bytes hold
  constexpr std::size_t kStep = kPixels * kChannels;
  constexpr std::size_t kOut = (kChannels == 3 ? 3 : 4) * kQuadBytes;
  const std::size_t bytes = pixels * kChannels;
  std::size_t at = 0;
  for (; at + 16 <= bytes; at += kStep, out += kOut) spread_piece<kChannels>(rows, at, out);
  for (; at < bytes; at += kStep, out += kOut) {  // no byte behind a row's end is read
    std::uint8_t tail[kBlockRows][16] = {};
    const std::uint8_t* tails[kBlockRows];
    const std::size_t left = bytes - at < 16 ? bytes - at : 16;
    for (int r = 0; r < kBlockRows; ++r) {
      std::memcpy(tail[r], rows[r] + at, left);
      tails[r] = tail[r];
    }
    spread_piece<kChannels>(tails, 0, out);
  }
}

inline void spread_rows(const std::uint8_t* const* rows, std::size_t pixels, std::int32_t channels, std::uint8_t* out) {
  switch (channels) {
    case 1:
      return spread_channels<1>(rows, pixels, out);
    case 3:
      return spread_channels<3>(rows, pixels, out);
    default:
      return spread_channels<4>(rows, pixels, out);
  }
}

inline void interleave_rows(const std::uint8_t* const* rows, std::size_t bytes, std::uint8_t* line) {
  std::size_t at = 0;
  for (; at + 16 <= bytes; at += 16, line += 64) {
    Bytes row[4];
    for (int r = 0; r < 4; ++r) std::memcpy(&row[r], rows[r] + at, 16);
    const auto low = [](Bytes a, Bytes b) {
      return shuffle<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(a, b);
    };
    const auto high = [](Bytes a, Bytes b) {
      return shuffle<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(a, b);
    };
    const Bytes even[2] = {low(row[0], row[2]), high(row[0], row[2])};
    const Bytes odd[2] = {low(row[1], row[3]), high(row[1], row[3])};
    const Bytes out[4] = {low(even[0], odd[0]), high(even[0], odd[0]), low(even[1], odd[1]), high(even[1], odd[1])};
    std::memcpy(line, out, sizeof(out));
  }
  for (; at < bytes; ++at) {
    for (int r = 0; r < 4; ++r) *line++ = rows[r][at];
  }
}

template <class Simd, int kChannels>
void across_channels(const std::uint8_t* spread, std::int32_t spread_first_quad, const std::int32_t* first_quad,
                     const std::int32_t* quad_count, const std::int32_t* start, const std::int32_t* words,
                     std::int32_t words_stride, std::int32_t groups, std::uint8_t* const* lines) {
  constexpr std::size_t kQuad = kChannels * kQuadBytes;
  constexpr int kVectors = kBlockRows / Simd::kLanes;
  for (std::int32_t group = 0; group < groups; ++group) {
    for (int v = 0; v < kVectors; ++v) {
      typename Simd::Ints total[4 * kChannels];
      for (int k = 0; k < 4; ++k) {
        const std::int32_t x = 4 * group + k;
        const std::uint8_t* quads =
            spread + static_cast<std::size_t>(first_quad[x] - spread_first_quad) * kQuad + v * Simd::kLanes * 4;
        const std::int32_t* w = words + static_cast<std::size_t>(x) * static_cast<std::size_t>(words_stride);
        typename Simd::Sums sum[kChannels];
        for (int c = 0; c < kChannels; ++c) Simd::clear(sum[c]);
        for (std::int32_t q = 0; q < quad_count[x]; ++q, quads += kQuad, w += Simd::kWords) {
          const typename Simd::Weights weights = Simd::weights(w);
          for (int c = 0; c < kChannels; ++c) {
            Simd::add(sum[c], quads + static_cast<std::size_t>(c) * kQuadBytes, weights);
          }
        }
        for (int c = 0; c < kChannels; ++c) total[k * kChannels + c] = Simd::total(sum[c], start[x]);
      }
      for (int j = 0; j < kChannels; ++j) {
        Simd::store_lines(total + 4 * j, lines + v * Simd::kLanes / 4,
                          static_cast<std::size_t>((group * kChannels + j) * 16));
      }
    }
  }
}

template <class Simd>
void across(const std::uint8_t* spread, std::int32_t spread_first_quad, std::int32_t channels,
            const std::int32_t* first_quad, const std::int32_t* quad_count, const std::int32_t* start,
            const std::int32_t* words, std::int32_t words_stride, std::int32_t groups, std::uint8_t* const* lines) {
  const auto run = [&](auto pass) {
    pass(spread, spread_first_quad, first_quad, quad_count, start, words, words_stride, groups, lines);
  };
  switch (channels) {
    case 1:
      return run(across_channels<Simd, 1>);
    case 3:
      return run(across_channels<Simd, 3>);
    default:
      return run(across_channels<Simd, 4>);
  }
}

template <class Simd>
void down(const std::uint8_t* const* lines, const std::int32_t* words, std::int32_t quads, std::int32_t start,
          std::size_t bytes, std::uint8_t* out) {
  constexpr std::size_t kStep = std::size_t{4} * Simd::kLanes;
  static_assert(kPadding % kStep == 0);
  for (std::size_t at = 0; at < bytes; at += kStep) {
    typename Simd::Sums sum[4];
    for (auto& one : sum) Simd::clear(one);
    const std::int32_t* w = words;
    for (std::int32_t q = 0; q < quads; ++q, w += Simd::kWords) {
      const typename Simd::Weights weights = Simd::weights(w);
      const std::uint8_t* line = lines[q] + 4 * at;
      for (std::size_t v = 0; v < 4; ++v) Simd::add(sum[v], line + v * kStep, weights);
    }
    typename Simd::Ints total[4];
    for (std::size_t v = 0; v < 4; ++v) total[v] = Simd::total(sum[v], start);
    Simd::store_row(total, out + at);
  }
}

/// A weight in three signed digits to the base of 256; one word holds a digit of all four taps.
inline void encode_digits(const std::int32_t* weight, std::int32_t* words) {
  std::uint32_t packed[3] = {};
  for (int t = 0; t < 4; ++t) {
    std::int32_t rest = weight[t];
    for (int digit = 2; digit >= 0; --digit) {  // the lowest first
      const auto low = static_cast<std::int8_t>(rest);
      packed[digit] |= static_cast<std::uint32_t>(static_cast<std::uint8_t>(low)) << (8 * t);
      rest = (rest - low) / 256;
    }
  }
  for (int digit = 0; digit < 3; ++digit) words[digit] = static_cast<std::int32_t>(packed[digit]);
}

}  // namespace
}  // namespace navit_edge

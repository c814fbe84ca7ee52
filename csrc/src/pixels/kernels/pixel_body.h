// The conversions themselves, on vectors of 16 bytes. Included by one source file for each instruction set; see
// resize_body.h for the rules.
#pragma once

#include <cstring>

#include "pixels/kernels/pixel_kernels.h"
#include "pixels/kernels/vectors.h"

namespace navit_edge {
namespace {

using Shorts = std::uint16_t __attribute__((vector_size(16)));
using Halves = std::uint16_t __attribute__((vector_size(32)));  // 16 pixels of one channel, widened

constexpr std::size_t kBlock = 16;  // pixels

/// The same bits.
template <class To, class From>
inline To reinterpret(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

/// 16 pixels of 4 bytes -> 4 planes.
inline void split(const std::uint8_t* in, Bytes* planes) {
  Words words[4];
  for (int i = 0; i < 4; ++i) {
    Bytes four;
    std::memcpy(&four, in + 16 * i, 16);
    four = shuffle<0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15>(four, four);
    std::memcpy(&words[i], &four, 16);
  }
  Words out[4];
  transpose(words, out);
  std::memcpy(planes, out, sizeof(out));
}

/// 4 planes -> 16 pixels of 4 bytes, or of the first 3.
template <int kOut>
inline void join(const Bytes* planes, std::uint8_t* out) {
  Words words[4];
  Words fours[4];
  std::memcpy(words, planes, sizeof(words));
  transpose(words, fours);
  for (int i = 0; i < 4; ++i) {
    Bytes four;
    std::memcpy(&four, &fours[i], 16);
    four = kOut == 4 ? shuffle<0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15>(four, four)
                     : shuffle<0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 12, 13, 14, 15>(four, four);
    std::memcpy(out + 4 * kOut * i, &four, 16);  // of 3 channels, the last 4 bytes are slack
  }
}

/// sum / 255, rounded: Pillow's MULDIV255, which is also what its alpha_composite comes to over an opaque colour.
inline Bytes over_255(Halves sum) {
  sum += 128;
  return __builtin_convertvector((sum + (sum >> 8)) >> 8, Bytes);
}

/// Calls block(in, out) for 16 pixels at a time; the last ones go through copies, so that no byte behind the row is
/// read.
template <int kIn, int kOut, class Block>
inline void blocks(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out, Block block) {
  for (; pixels >= kBlock; pixels -= kBlock, in += kIn * kBlock, out += kOut * kBlock) block(in, out);
  if (pixels == 0) return;
  std::uint8_t tail[kIn * kBlock] = {};
  std::uint8_t result[kOut * kBlock + kPixelSlack];
  std::memcpy(tail, in, kIn * pixels);
  block(tail, result);
  std::memcpy(out, result, kOut * pixels);
}

inline void swap_three(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out) {
  std::size_t left = pixels * 3;
  for (; left >= 16; left -= 15, in += 15, out += 15) {  // five pixels at a time
    Bytes five;
    std::memcpy(&five, in, 16);
    five = shuffle<2, 1, 0, 5, 4, 3, 8, 7, 6, 11, 10, 9, 14, 13, 12, 15>(five, five);
    std::memcpy(out, &five, 16);
  }
  for (; left > 0; left -= 3, in += 3, out += 3) {
    const std::uint8_t pixel[3] = {in[2], in[1], in[0]};
    std::memcpy(out, pixel, 3);
  }
}

inline void take_three(const std::uint8_t* in, std::size_t pixels, bool swap, std::uint8_t* out) {
  // The byte behind the last pixel's third may be nobody's: image[:, :, 1:] of four channels ends there.
  const std::size_t last = pixels - 1;
  const auto run = [&](auto shuffled) {
    blocks<4, 3>(in, last, out, [&](const std::uint8_t* from, std::uint8_t* to) {
      for (int i = 0; i < 4; ++i) {
        Bytes four;
        std::memcpy(&four, from + 16 * i, 16);
        four = shuffled(four);
        std::memcpy(to + 12 * i, &four, 16);
      }
    });
  };
  if (swap) {
    run([](Bytes v) { return shuffle<2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, 3, 7, 11, 15>(v, v); });
  } else {
    run([](Bytes v) { return shuffle<0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15>(v, v); });
  }
  for (std::size_t c = 0; c < 3; ++c) out[3 * last + c] = in[4 * last + (swap ? 2 - c : c)];
}

inline void composite(const std::uint8_t* in, std::size_t pixels, bool swap, const std::uint8_t* background,
                      std::uint8_t* out) {
  blocks<4, 3>(in, pixels, out, [&](const std::uint8_t* from, std::uint8_t* to) {
    Bytes planes[4];
    split(from, planes);
    const Halves alpha = __builtin_convertvector(planes[3], Halves);
    Bytes result[4] = {};
    for (int c = 0; c < 3; ++c) {
      const Halves front = __builtin_convertvector(planes[swap ? 2 - c : c], Halves);
      result[c] = over_255(front * alpha + (255 - alpha) * background[c]);
    }
    join<3>(result, to);
  });
}

inline void premultiply(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out) {
  blocks<4, 4>(in, pixels, out, [](const std::uint8_t* from, std::uint8_t* to) {
    Bytes planes[4];
    split(from, planes);
    const Halves alpha = __builtin_convertvector(planes[3], Halves);
    for (int c = 0; c < 3; ++c) planes[c] = over_255(__builtin_convertvector(planes[c], Halves) * alpha);
    join<4>(planes, to);
  });
}

inline void unpremultiply(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out) {
  for (; pixels > 0; --pixels, in += 4, out += 4) {
    const unsigned alpha = in[3];
    for (int c = 0; c < 3; ++c) {
      const unsigned value = alpha == 0 || alpha == 255 ? in[c] : 255U * in[c] / alpha;
      out[c] = static_cast<std::uint8_t>(value > 255 ? 255 : value);
    }
    out[3] = in[3];
  }
}

inline void expand(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out) {
  blocks<1, 3>(in, pixels, out, [](const std::uint8_t* from, std::uint8_t* to) {
    Bytes v;
    std::memcpy(&v, from, 16);
    const Bytes three[3] = {shuffle<0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5>(v, v),
                            shuffle<5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10>(v, v),
                            shuffle<10, 11, 11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15>(v, v)};
    std::memcpy(to, three, sizeof(three));
  });
}

/// 16 bytes as numbers of 32 bits, four at a time: g++ makes __builtin_convertvector a move for each number.
struct Wide {
  Words part[4];
};

inline Wide widen(Bytes bytes) {
  const Bytes none{};
  const Shorts zero{};
  const Bytes halves[2] = {shuffle<0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23>(bytes, none),
                           shuffle<8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31>(bytes, none)};
  Wide wide;
  for (int i = 0; i < 4; ++i) {
    const auto eight = reinterpret<Shorts>(halves[i / 2]);
    wide.part[i] = reinterpret<Words>(i % 2 == 0 ? shuffle<0, 8, 1, 9, 2, 10, 3, 11>(eight, zero)
                                                 : shuffle<4, 12, 5, 13, 6, 14, 7, 15>(eight, zero));
  }
  return wide;
}

/// Back, of numbers from 0 to 255.
inline Bytes narrow(const Wide& wide) {
  Bytes halves[2];
  for (int i = 0; i < 2; ++i) {
    halves[i] = reinterpret<Bytes>(shuffle<0, 2, 4, 6, 8, 10, 12, 14>(reinterpret<Shorts>(wide.part[2 * i]),
                                                                      reinterpret<Shorts>(wide.part[2 * i + 1])));
  }
  return shuffle<0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30>(halves[0], halves[1]);
}

inline Words clip_16(Words value) {
  value >>= 16;
  value = value < 0 ? Words{} : value;
  return value > 255 ? Words{} + 255 : value;
}

/// Sixteen pixels: Y of each, U and V of each as they were repeated.
inline void yuv_block(Bytes y, Bytes u, Bytes v, const YuvCoefficients& k, std::uint8_t* out) {
  const Wide lights = widen(y);
  const Wide blues = widen(u);
  const Wide reds = widen(v);
  Wide colours[3];
  for (int i = 0; i < 4; ++i) {
    const Words light = (lights.part[i] - k.offset) * k.y + (1 << 15);
    const Words cb = blues.part[i] - 128;
    const Words cr = reds.part[i] - 128;
    colours[0].part[i] = clip_16(light + cr * k.red_v);
    colours[1].part[i] = clip_16(light + cb * k.green_u + cr * k.green_v);
    colours[2].part[i] = clip_16(light + cb * k.blue_u);
  }
  const Bytes planes[4] = {narrow(colours[0]), narrow(colours[1]), narrow(colours[2]), Bytes{}};
  join<3>(planes, out);
}

/// At most 16 pixels at x; 16 if kWhole.
template <bool kWhole>
inline void yuv_at(const std::uint8_t* y, const std::uint8_t* u, const std::uint8_t* v, std::size_t step,
                   std::size_t pixels, const YuvCoefficients& k, std::uint8_t* out) {
  const std::size_t count = kWhole ? kBlock : pixels;
  const std::size_t pairs = (count + 1) / 2;
  Bytes light{};
  Bytes cb{};
  Bytes cr{};
  std::memcpy(&light, y, count);
  if (step == 2) {  // U and V in turn, U first
    std::memcpy(&cb, u, 2 * pairs);
    cr = shuffle<1, 1, 3, 3, 5, 5, 7, 7, 9, 9, 11, 11, 13, 13, 15, 15>(cb, cb);
    cb = shuffle<0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10, 12, 12, 14, 14>(cb, cb);
  } else {
    std::memcpy(&cb, u, pairs);
    std::memcpy(&cr, v, pairs);
    cb = shuffle<0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7>(cb, cb);
    cr = shuffle<0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7>(cr, cr);
  }
  if constexpr (kWhole) {
    yuv_block(light, cb, cr, k, out);
  } else {
    std::uint8_t result[3 * kBlock + kPixelSlack];
    yuv_block(light, cb, cr, k, result);
    std::memcpy(out, result, 3 * count);
  }
}

inline void yuv(const std::uint8_t* y, const std::uint8_t* u, const std::uint8_t* v, std::size_t step,
                std::size_t pixels, const YuvCoefficients& k, std::uint8_t* out) {
  const std::size_t chroma = kBlock / 2 * step;
  for (; pixels >= kBlock; pixels -= kBlock, y += kBlock, u += chroma, v += chroma, out += 3 * kBlock) {
    yuv_at<true>(y, u, v, step, kBlock, k, out);
  }
  if (pixels > 0) yuv_at<false>(y, u, v, step, pixels, k, out);
}

/// 16 pixels of 3 bytes -> 3 planes, and one of no meaning.
inline void split_three(const std::uint8_t* in, Bytes* planes) {
  Words words[4];
  for (int i = 0; i < 4; ++i) {
    Bytes four;
    std::memcpy(&four, in + (i < 3 ? 12 * i : 32), 16);  // no byte behind the last pixel
    four = i < 3 ? shuffle<0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, 12, 13, 14, 15>(four, four)
                 : shuffle<4, 7, 10, 13, 5, 8, 11, 14, 6, 9, 12, 15, 0, 1, 2, 3>(four, four);
    std::memcpy(&words[i], &four, 16);
  }
  Words out[4];
  transpose(words, out);
  std::memcpy(planes, out, sizeof(out));
}

inline void luma(const std::uint8_t* in, std::size_t pixels, std::uint8_t* out) {
  blocks<3, 1>(in, pixels, out, [](const std::uint8_t* from, std::uint8_t* to) {
    Bytes planes[4];
    split_three(from, planes);
    const Wide reds = widen(planes[0]);
    const Wide greens = widen(planes[1]);
    const Wide blues = widen(planes[2]);
    Wide sums;
    for (int i = 0; i < 4; ++i) {
      sums.part[i] = (reds.part[i] * 19595 + greens.part[i] * 38470 + blues.part[i] * 7471 + 0x8000) >> 16;
    }
    const Bytes light = narrow(sums);
    std::memcpy(to, &light, 16);
  });
}

using Lanes = std::uint8_t __attribute__((vector_size(32)));

constexpr std::size_t kStride = 3 * sizeof(Lanes);  // of `blank`: whole pixels and whole vectors

/// Of what a comparison of Lanes gives.
template <class Truths>
inline bool any(const Truths& lanes) {
  std::uint64_t parts[4];
  std::memcpy(parts, &lanes, sizeof(parts));
  return (parts[0] | parts[1] | parts[2] | parts[3]) != 0;
}

/// The least and the largest value of each of kStride places, from the first pixel on in all of them.
struct Extremes {
  Lanes low[3];
  Lanes high[3];

  explicit Extremes(const std::uint8_t* pixel) {
    std::uint8_t all[kStride];
    for (std::size_t i = 0; i < kStride; ++i) all[i] = pixel[i % 3];
    std::memcpy(low, all, kStride);
    std::memcpy(high, all, kStride);
  }
  void take(const std::uint8_t* in) {
    for (int i = 0; i < 3; ++i) {
      Lanes lanes;
      std::memcpy(&lanes, in + static_cast<std::size_t>(i) * sizeof(Lanes), sizeof(Lanes));
      low[i] = lanes < low[i] ? lanes : low[i];
      high[i] = lanes > high[i] ? lanes : high[i];
    }
  }
  /// Whether the values of a place differ by more than `range`: then those of a channel do.
  [[nodiscard]] bool beyond(std::uint8_t range) const {
    const Lanes most = Lanes{} + range;
    return any((high[0] - low[0] > most) | (high[1] - low[1] > most) | (high[2] - low[2] > most));
  }
  /// Whether those of a channel do.
  [[nodiscard]] bool channel_beyond(std::int32_t range) const {
    std::uint8_t lows[kStride];
    std::uint8_t highs[kStride];
    std::memcpy(lows, low, kStride);
    std::memcpy(highs, high, kStride);
    for (std::size_t channel = 0; channel < 3; ++channel) {
      std::int32_t least = 255;
      std::int32_t most = 0;
      for (std::size_t i = channel; i < kStride; i += 3) {
        least = lows[i] < least ? lows[i] : least;
        most = highs[i] > most ? highs[i] : most;
      }
      if (most - least > range) return true;
    }
    return false;
  }
};

inline bool blank(const std::uint8_t* in, std::size_t pixels, std::int32_t range) {
  const std::size_t bytes = 3 * pixels;
  Extremes found(in);
  if (bytes < kStride) {  // the first pixel may stand for those that are missing
    std::uint8_t filled[kStride];
    for (std::size_t i = 0; i < kStride; ++i) filled[i] = i < bytes ? in[i] : in[i % 3];
    found.take(filled);
    return !found.channel_beyond(range);
  }
  const auto most = static_cast<std::uint8_t>(range);
  constexpr std::size_t kAtOnce =
      4;  // strides between looks whether it can still be blank; the first is looked at alone
  std::size_t at = 0;
  for (std::size_t stride = 0; at + kStride <= bytes; at += kStride, ++stride) {
    found.take(in + at);
    if (stride % kAtOnce == 0 && found.beyond(most)) return false;
  }
  if (at < bytes) found.take(in + bytes - kStride);
  if (found.beyond(most)) return false;
  // All places hold the first pixel: two that are no further from it than half of the range are within it.
  if (!found.beyond(static_cast<std::uint8_t>(most / 2))) return true;
  return !found.channel_beyond(range);
}

constexpr PixelKernels pixel_kernels_here() {
  return {swap_three, take_three, composite, premultiply, unpremultiply, expand, yuv, luma, blank};
}

}  // namespace
}  // namespace navit_edge

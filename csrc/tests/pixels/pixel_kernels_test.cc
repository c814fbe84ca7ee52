// Every instruction set against the plainest one, and that one against one-line definitions. Pillow, OpenCV and float64
// are asked by tests/conformance/test_pixel_formats.py.
#include "pixels/kernels/pixel_kernels.h"

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

#include "pixels/pixel_rows.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes random_bytes(std::mt19937& random, std::size_t count) {
  Bytes bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

struct Conversion {
  std::size_t in, out;  // bytes a pixel
  std::function<void(const PixelKernels&, const std::uint8_t*, std::size_t, std::uint8_t*)> run;
};

const std::uint8_t kColour[3] = {3, 250, 77};

std::vector<Conversion> conversions() {
  return {{4, 3,
           [](const auto& k, auto* in, auto n, auto* out) {  // Y, then U and V in turn
             k.yuv(in, in + n, in + n + 1, 2, n, yuv_coefficients(YuvMatrix::kBt601, YuvRange::kFull), out);
           }},
          {3, 3, [](const auto& k, auto* in, auto n, auto* out) { k.swap(in, n, out); }},
          {4, 3, [](const auto& k, auto* in, auto n, auto* out) { k.take_three(in, n, false, out); }},
          {4, 3, [](const auto& k, auto* in, auto n, auto* out) { k.take_three(in, n, true, out); }},
          {4, 3, [](const auto& k, auto* in, auto n, auto* out) { k.composite(in, n, false, kColour, out); }},
          {4, 3, [](const auto& k, auto* in, auto n, auto* out) { k.composite(in, n, true, kColour, out); }},
          {4, 4, [](const auto& k, auto* in, auto n, auto* out) { k.premultiply(in, n, out); }},
          {4, 4, [](const auto& k, auto* in, auto n, auto* out) { k.unpremultiply(in, n, out); }},
          {1, 3, [](const auto& k, auto* in, auto n, auto* out) { k.expand(in, n, out); }},
          {3, 1, [](const auto& k, auto* in, auto n, auto* out) { k.luma(in, n, out); }},
          {3, 3, [](const auto& k, auto* in, auto n, auto* out) {  // Y, then U and V of every pair
             k.yuv(in, in + n, in + 2 * n, 1, n, yuv_coefficients(YuvMatrix::kBt709, YuvRange::kLimited), out);
           }}};
}

}  // namespace

TEST_CASE("every instruction set converts to the same bits, and reads no byte behind the row") {
  std::mt19937 random(21);
  for (const Conversion& conversion : conversions()) {
    for (std::size_t pixels = 1; pixels < 70; ++pixels) {
      const Bytes in = random_bytes(random, pixels * conversion.in);  // a sanitizer sees what is read behind it
      Bytes expected(pixels * conversion.out + kPixelSlack);
      conversion.run(kPixelsPortable, in.data(), pixels, expected.data());
      expected.resize(pixels * conversion.out);
      for (const SimdLevel level : simd_levels()) {
        Bytes out(pixels * conversion.out + kPixelSlack);
        conversion.run(pixel_kernels(level), in.data(), pixels, out.data());
        out.resize(pixels * conversion.out);
        CHECK(out == expected);
      }
    }
  }
}

TEST_CASE("channels land where their names say") {
  std::mt19937 random(22);
  const Bytes in = random_bytes(random, 4 * 37);
  Bytes out(4 * 37 + kPixelSlack);
  for (const SimdLevel level : simd_levels()) {
    const PixelKernels& kernels = pixel_kernels(level);
    kernels.swap(in.data(), 37, out.data());
    for (std::size_t i = 0; i < 37; ++i) {
      for (std::size_t c = 0; c < 3; ++c) CHECK(out[3 * i + c] == in[3 * i + 2 - c]);
    }
    kernels.take_three(in.data(), 37, true, out.data());
    for (std::size_t i = 0; i < 37; ++i) {
      for (std::size_t c = 0; c < 3; ++c) CHECK(out[3 * i + c] == in[4 * i + 2 - c]);
    }
    kernels.expand(in.data(), 37, out.data());
    for (std::size_t i = 0; i < 3 * 37; ++i) CHECK(out[i] == in[i / 3]);
    kernels.premultiply(in.data(), 37, out.data());
    for (std::size_t i = 0; i < 37; ++i) {
      const int alpha = in[4 * i + 3];
      for (std::size_t c = 0; c < 3; ++c) CHECK(out[4 * i + c] == (in[4 * i + c] * alpha * 2 + 255) / 510);
      CHECK(out[4 * i + 3] == alpha);
    }
  }
}

TEST_CASE("luma is Pillow's sum of each pixel") {
  std::mt19937 random(22);
  for (std::size_t pixels = 1; pixels < 40; ++pixels) {
    Bytes in = random_bytes(random, 3 * pixels);
    if (pixels % 3 == 0) in.assign(in.size(), 255);
    Bytes out(pixels + 1, 7);
    kPixelsPortable.luma(in.data(), pixels, out.data());
    for (std::size_t i = 0; i < pixels; ++i) {
      CHECK(out[i] == (in[3 * i] * 19595 + in[3 * i + 1] * 38470 + in[3 * i + 2] * 7471 + 0x8000) >> 16);
    }
    CHECK(out[pixels] == 7);
  }
}

TEST_CASE("black, white and gray of both ranges come out exact") {
  for (const YuvMatrix matrix : {YuvMatrix::kBt601, YuvMatrix::kBt709}) {
    for (const YuvRange range : {YuvRange::kLimited, YuvRange::kFull}) {
      const bool full = range == YuvRange::kFull;
      const Bytes y{static_cast<std::uint8_t>(full ? 0 : 16), static_cast<std::uint8_t>(full ? 255 : 235)};
      const Bytes chroma{128};
      Bytes out(6 + kPixelSlack);
      kPixelsPortable.yuv(y.data(), chroma.data(), chroma.data(), 1, 2, yuv_coefficients(matrix, range), out.data());
      out.resize(6);
      CHECK(out == Bytes{0, 0, 0, 255, 255, 255});
    }
  }
}

TEST_CASE("pixels are blank if no channel's values differ by more than the range") {
  std::mt19937 random(17);
  for (const SimdLevel level : simd_levels()) {
    for (std::size_t pixels = 1; pixels < 300; pixels += 1 + pixels / 9) {
      for (int round = 0; round < 20; ++round) {
        Bytes in(3 * pixels);
        const int base = static_cast<int>(random() % 200);
        const int spread = 1 + static_cast<int>(random() % 40);
        for (std::size_t i = 0; i < in.size(); ++i) {
          in[i] = static_cast<std::uint8_t>(base + 5 * static_cast<int>(i % 3) + static_cast<int>(random() % spread));
        }
        if (round % 2 == 0) std::fill(in.begin() + 3, in.end(), in[0]);
        if (round % 4 == 0) in[random() % in.size()] = static_cast<std::uint8_t>(random());
        int most = 0;
        for (std::size_t channel = 0; channel < 3; ++channel) {
          int low = 255;
          int high = 0;
          for (std::size_t i = channel; i < in.size(); i += 3) {
            low = std::min<int>(low, in[i]);
            high = std::max<int>(high, in[i]);
          }
          most = std::max(most, high - low);
        }
        const PixelKernels& kernels = pixel_kernels(level);
        CHECK(kernels.blank(in.data(), pixels, most));
        CHECK(kernels.blank(in.data(), pixels, 255));
        if (most > 0) CHECK(!kernels.blank(in.data(), pixels, most - 1));
      }
    }
  }
}

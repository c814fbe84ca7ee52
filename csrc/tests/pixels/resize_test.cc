// Judged by Pillow's own bytes for small pictures, and by a plain restatement of its arithmetic for large ones; the
// comparison with an installed Pillow over thousands of sizes is a Python test.
#include "navit_edge/resize.h"

#include <algorithm>
#include <cstdio>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "navit_edge/error.h"
#include "pixels/resize_oracle.h"
#include "pixels/resizer.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

using Pixels = std::vector<std::uint8_t>;

Pixels picture(std::int32_t height, std::int32_t width, std::int32_t channels = 3) {
  Pixels pixels(static_cast<std::size_t>(height) * static_cast<std::size_t>(width) *
                static_cast<std::size_t>(channels));
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(((std::uint64_t{i} * 2654435761U + 12345U) & 0xFFFFFFFFU) >> 24);
  }
  return pixels;
}

std::span<const SimdLevel> levels() { return simd_levels(); }

Pixels resized(const ImageView& image, Size target, const std::string& filter, SimdLevel level, std::int32_t bands = 1,
               Processor processor = Processor::kPillow) {
  Resizer resizer(level);
  const PixelRows source = PixelRows::own(image, false, pixel_kernels(level));
  const std::size_t row_bytes = static_cast<std::size_t>(target.width_px) * static_cast<std::size_t>(image.channels);
  Pixels out(static_cast<std::size_t>(target.height_px) * row_bytes);
  for (std::int32_t band = 0; band < bands; ++band) {
    const std::int32_t begin = target.height_px * band / bands;
    const std::int32_t end = target.height_px * (band + 1) / bands;
    std::int32_t expected = begin;
    resizer.rows(
        source, target, parse_word<Filter>(filter), begin, end,
        [&](std::int32_t y, const std::uint8_t* row) {
          CHECK(y == expected++);
          std::copy_n(row, row_bytes,
                      out.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(y) * row_bytes));
        },
        processor);
    CHECK(expected == end);
  }
  return out;
}

/// One pass over one axis, value by value: `lines` runs of `in` values `step` apart become runs of `out` values.
Pixels plain_pass(const Pixels& pixels, std::size_t outer, std::int32_t in, std::size_t inner, std::int32_t out,
                  Filter filter, Processor processor) {
  AxisWeights weights;
  compute_weights(in, out, filter, processor, weights);
  Pixels result(outer * static_cast<std::size_t>(out) * inner);
  for (std::size_t o = 0; o < outer; ++o) {
    for (std::int32_t x = 0; x < out; ++x) {
      const auto at = static_cast<std::size_t>(x);
      for (std::size_t i = 0; i < inner; ++i) {
        std::int64_t sum = std::int64_t{1} << 21;
        for (std::int32_t t = 0; t < weights.count[at]; ++t) {
          const auto source = static_cast<std::size_t>(weights.first[at] + t);
          sum +=
              std::int64_t{weights.weight[at * static_cast<std::size_t>(weights.taps) + static_cast<std::size_t>(t)]} *
              pixels[(o * static_cast<std::size_t>(in) + source) * inner + i];
        }
        result[(o * static_cast<std::size_t>(out) + at) * inner + i] =
            static_cast<std::uint8_t>(std::clamp<std::int64_t>(sum >> 22, 0, 255));
      }
    }
  }
  return result;
}

Pixels plainly_resized(Pixels pixels, Size size, Size target, Filter filter, std::size_t channels = 3,
                       Processor processor = Processor::kPillow) {
  const auto across = [&] {
    if (size.width_px == target.width_px) return;
    pixels = plain_pass(pixels, static_cast<std::size_t>(size.height_px), size.width_px, channels, target.width_px,
                        filter, processor);
    size.width_px = target.width_px;
  };
  const auto down = [&] {
    if (size.height_px == target.height_px) return;
    pixels = plain_pass(pixels, 1, size.height_px, static_cast<std::size_t>(size.width_px) * channels, target.height_px,
                        filter, processor);
    size.height_px = target.height_px;
  };
  if (processor == Processor::kPillow && goes_down_first(size, target)) {
    down();
    across();
  } else {
    across();
    down();
  }
  return pixels;
}

}  // namespace

TEST_CASE("small pictures come out as Pillow makes them, byte for byte") {
  for (const ResizeOracle& oracle : resize_oracles()) {
    const Pixels pixels = picture(oracle.height, oracle.width);
    const ImageView image{pixels.data(), oracle.height, oracle.width, 3, 0};
    for (const SimdLevel level : levels()) {
      CHECK(resized(image, {oracle.out_height, oracle.out_width}, oracle.filter, level) == oracle.bytes);
    }
    Pixels out(oracle.bytes.size());
    resize_image(image, {oracle.out_height, oracle.out_width}, parse_word<Filter>(oracle.filter), out.data());
    CHECK(out == oracle.bytes);
  }
}

TEST_CASE("every instruction set and every way to cut bands gives the bits of the plain arithmetic") {
  std::mt19937 random(5);
  const auto side = [&](int most) { return 1 + static_cast<std::int32_t>(random() % static_cast<unsigned>(most)); };
  const std::vector<std::string> filters{"box", "bilinear", "hamming", "bicubic", "lanczos"};
  for (int i = 0; i < 150; ++i) {
    const int most = i % 3 == 0 ? 12 : i % 3 == 1 ? 70 : 260;
    const Size size{side(most), side(most)};
    Size target{side(most), side(most)};
    if (i % 10 == 0) target.width_px = size.width_px;
    if (i % 15 == 0) target.height_px = size.height_px;
    const std::int32_t channels = i % 4 == 1 ? 1 : i % 4 == 2 ? 4 : 3;
    const Pixels pixels = picture(size.height_px, size.width_px, channels);
    const std::string& filter = filters[static_cast<std::size_t>(i) % filters.size()];
    const Pixels expected =
        plainly_resized(pixels, size, target, parse_word<Filter>(filter), static_cast<std::size_t>(channels));
    for (const SimdLevel level : levels()) {
      const std::int32_t bands = 1 + static_cast<std::int32_t>(random() % 4);
      CHECK(resized({pixels.data(), size.height_px, size.width_px, channels, 0}, target, filter, level, bands) ==
            expected);
    }
  }
}

TEST_CASE("every instruction set gives the bits of the plain arithmetic with torchvision's weights") {
  std::mt19937 random(6);
  const auto side = [&](int most) { return 1 + static_cast<std::int32_t>(random() % static_cast<unsigned>(most)); };
  for (int i = 0; i < 100; ++i) {
    const int most = i % 3 == 0 ? 12 : i % 3 == 1 ? 70 : 260;
    const Size size{side(most), side(most)};
    const Size target{side(most), side(most)};
    const std::int32_t channels = i % 4 == 1 ? 1 : i % 4 == 2 ? 4 : 3;
    const Pixels pixels = picture(size.height_px, size.width_px, channels);
    const std::string filter = i % 2 == 0 ? "bilinear" : "bicubic";
    const Pixels expected = plainly_resized(pixels, size, target, parse_word<Filter>(filter),
                                            static_cast<std::size_t>(channels), Processor::kTorchvision);
    for (const SimdLevel level : levels()) {
      CHECK(resized({pixels.data(), size.height_px, size.width_px, channels, 0}, target, filter, level, 1 + i % 4,
                    Processor::kTorchvision) == expected);
    }
  }
}

TEST_CASE("torchvision's weights fit 16 bits before they are scaled") {
  AxisWeights weights;
  for (const auto& [in, out] : {std::pair{640, 224}, std::pair{224, 640}, std::pair{4000, 3}, std::pair{1, 9}}) {
    for (const Filter filter : {Filter::kBilinear, Filter::kBicubic}) {
      compute_weights(in, out, filter, Processor::kTorchvision, weights);
      std::int32_t all = 0;  // every bit that some weight has
      std::int32_t most = 0;
      for (const std::int32_t weight : weights.weight) {
        all |= weight;
        most = std::max(most, weight);
      }
      const std::int32_t step = all & -all;
      CHECK(most / step < 1 << 15);
    }
  }
}

TEST_CASE("row strides, negative ones too, read the rows they name and no other byte") {
  constexpr std::int32_t height = 19;
  constexpr std::int32_t width = 23;
  const Pixels tight = picture(height, width);
  const std::size_t row = width * 3;
  Pixels wide(height * (row + 5), 0xEE);
  Pixels flipped(tight.size());
  for (std::size_t y = 0; y < height; ++y) {
    const auto begin = tight.begin() + static_cast<std::ptrdiff_t>(y * row);
    std::copy_n(begin, row, wide.begin() + static_cast<std::ptrdiff_t>(y * (row + 5)));
    std::copy_n(begin, row, flipped.begin() + static_cast<std::ptrdiff_t>((height - 1 - y) * row));
  }
  wide.resize(wide.size() - 5);  // a sanitizer sees any byte read behind the last row
  const ImageView views[] = {{tight.data(), height, width, 3, 0},
                             {wide.data(), height, width, 3, static_cast<std::int64_t>(row + 5)},
                             {flipped.data() + (height - 1) * row, height, width, 3, -static_cast<std::int64_t>(row)}};
  for (const Size target : {Size{7, 11}, Size{40, 50}, Size{height, 9}, Size{3, width}, Size{height, width}}) {
    const Pixels expected = plainly_resized(tight, {height, width}, target, Filter::kBicubic);
    for (const SimdLevel level : levels()) {
      for (const ImageView& view : views) CHECK(resized(view, target, "bicubic", level) == expected);
    }
  }
}

TEST_CASE("a picture of one colour keeps it at every size and under every filter") {
  for (const int value : {0, 1, 127, 254, 255}) {
    const Pixels pixels(31 * 17 * 3, static_cast<std::uint8_t>(value));
    for (const char* filter : {"box", "bilinear", "hamming", "bicubic", "lanczos"}) {
      for (const Size target : {Size{1, 1}, Size{5, 40}, Size{64, 3}, Size{90, 90}}) {
        const Pixels out = resized({pixels.data(), 31, 17, 3, 0}, target, filter, best_simd_level());
        CHECK(std::all_of(out.begin(), out.end(), [&](int byte) { return byte == value; }));
      }
    }
  }
}

TEST_CASE("buffers of an earlier, larger image do not leak into a later one") {
  Resizer resizer;
  for (const Size size : {Size{200, 100}, Size{11, 13}, Size{90, 8}, Size{13, 200}}) {
    const Pixels pixels = picture(size.height_px, size.width_px);
    const Size target{16, 16};
    Pixels out(16 * 16 * 3);
    const ImageView image{pixels.data(), size.height_px, size.width_px, 3, 0};
    const PixelRows source = PixelRows::own(image, false, pixel_kernels(best_simd_level()));
    resizer.rows(source, target, Filter::kBilinear, 0, 16,
                 [&](std::int32_t y, const std::uint8_t* row) { std::copy_n(row, 48, out.begin() + y * 48); });
    CHECK(out == plainly_resized(pixels, size, target, Filter::kBilinear));
  }
}

TEST_CASE("memory does not grow with the height of the image, and is a small part of a large one") {
  // 4000 px wide to 592, as a photograph of 12 megapixels goes under a cap of 1024 tokens.
  const auto buffers_for = [](std::int32_t height, PixelFormat format, std::int32_t channels) {
    const Pixels pixels(static_cast<std::size_t>(4000 * channels) * static_cast<std::size_t>(height), 77);
    const ImageView image{pixels.data(), height, 4000, channels, 0, format};
    Resizer resizer;
    const PixelRows source = PixelRows::own(image, false, pixel_kernels(best_simd_level()));
    const Size target{height * 592 / 4000, 592};
    resizer.rows(source, target, Filter::kBilinear, 0, target.height_px, [](std::int32_t, const std::uint8_t*) {});
    return resizer.buffer_bytes();
  };
  for (const auto& [format, channels] : {std::pair{PixelFormat::kRgb, 3}, std::pair{PixelFormat::kBgrx, 4}}) {
    const std::size_t low = buffers_for(750, format, channels);
    CHECK(low == buffers_for(3000, format, channels));
    CHECK(low == buffers_for(6000, format, channels));
    CHECK(low < 300'000);  // 12 megapixels have 36 million bytes
    std::printf("a row of 4000 px to 592: %zu bytes of buffers at any height\n", low);
  }
}

TEST_CASE("what is set aside for a processor suffices for its resize, whichever side shrinks more") {
  for (const Processor processor : {Processor::kPillow, Processor::kTorchvision, Processor::kTimm}) {
    for (const Filter filter : {Filter::kBilinear, Filter::kBicubic}) {
      for (const Size size : {Size{900, 200}, Size{200, 900}, Size{500, 500}}) {
        const Pixels pixels = picture(size.height_px, size.width_px);
        const ImageView image{pixels.data(), size.height_px, size.width_px, 3, 0};
        const PixelRows source = PixelRows::own(image, false, pixel_kernels(best_simd_level()));
        Resizer resizer;
        resizer.reserve(size, {96, 96}, filter, processor);
        const std::size_t bytes = resizer.bytes();
        for (const Size target : {Size{96, 96}, Size{64, 96}, Size{96, 64}}) {
          resizer.rows(
              source, target, filter, 0, target.height_px, [](std::int32_t, const std::uint8_t*) {}, processor);
          CHECK(resizer.bytes() == bytes);
        }
      }
    }
  }
}

TEST_CASE("timm resizes as Pillow does") {
  const Pixels pixels = picture(123, 45, 4);
  Pixels pillow(61 * 47 * 4);
  Pixels timm(pillow.size());
  const ImageView image{pixels.data(), 123, 45, 4, 0};
  resize_image(image, {61, 47}, Filter::kLanczos, pillow.data());
  resize_image(image, {61, 47}, Filter::kLanczos, timm.data(), Processor::kTimm);
  CHECK(pillow == timm);
}

TEST_CASE("images and filters that cannot be resized are refused") {
  Pixels pixels = picture(4, 4);
  Pixels out(1000);
  const ImageView good{pixels.data(), 4, 4, 3, 0};
  CHECK_THROWS_WITH_AS(resize_image(good, {4, 0}, Filter::kBilinear, out.data()), "at least 1", InvalidInput);
  CHECK_THROWS_WITH_AS(resize_image({pixels.data(), 0, 4, 3, 0}, {4, 4}, Filter::kBilinear, out.data()), "at least 1",
                       InvalidInput);
  CHECK_THROWS_WITH_AS(resize_image({nullptr, 4, 4, 3, 0}, {4, 4}, Filter::kBilinear, out.data()), "null",
                       InvalidInput);
  CHECK_THROWS_WITH_AS(resize_image({pixels.data(), 4, 4, 5, 0}, {4, 4}, Filter::kBilinear, out.data()), "5 channels",
                       InvalidInput);
  ImageView planar{pixels.data(), 4, 4, 1, 0, PixelFormat::kI420, {pixels.data(), nullptr}};
  CHECK_THROWS_WITH_AS(resize_image(planar, {4, 4}, Filter::kBilinear, out.data()), "planes[1] is null", InvalidInput);
  planar.channels = 3;
  CHECK_THROWS_WITH_AS(resize_image(planar, {4, 4}, Filter::kBilinear, out.data()), "I420 with 3 channels",
                       InvalidInput);
  planar = {pixels.data(), 4, 4, 1, 0, PixelFormat::kNv12, {pixels.data(), nullptr}, {3, 0}};
  CHECK_THROWS_WITH_AS(resize_image(planar, {4, 4}, Filter::kBilinear, out.data()), "chroma rows 3 bytes apart",
                       InvalidInput);
  CHECK_THROWS_WITH_AS(resize_image({pixels.data(), 4, 4, 3, 11}, {4, 4}, Filter::kBilinear, out.data()), "overlap",
                       InvalidInput);
}

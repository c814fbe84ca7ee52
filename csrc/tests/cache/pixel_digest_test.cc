// What an image is known by: its pixels as the model sees them, however they lie in memory.
#include "cache/pixel_digest.h"

#include <cstdint>
#include <random>
#include <set>
#include <vector>

#include "cache/tree_hash.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes random_bytes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  Bytes bytes(count);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

ImageView rgb_view(const Bytes& pixels, std::int32_t height, std::int32_t width) {
  return {pixels.data(), height, width, 3, 0};
}

ContentDigest digest(const ImageView& view, int threads = 1, const PreprocessSpec& preprocess = {}) {
  return pixel_digest(view, preprocess, threads);
}

/// RGB pixels laid out anew: `step` bytes a pixel, rows `stride` apart, red last if `swap`.
Bytes laid_out(const Bytes& rgb, std::int32_t height, std::int32_t width, std::size_t step, std::size_t stride,
               bool swap, std::uint8_t filler) {
  Bytes out(static_cast<std::size_t>(height) * stride, filler);
  for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
    for (std::size_t x = 0; x < static_cast<std::size_t>(width); ++x) {
      for (std::size_t c = 0; c < 3; ++c) {
        out[y * stride + x * step + (swap ? 2 - c : c)] = rgb[(y * static_cast<std::size_t>(width) + x) * 3 + c];
      }
    }
  }
  return out;
}

struct Planar {
  explicit Planar(std::int32_t height, std::int32_t width, unsigned seed)
      : y(random_bytes(static_cast<std::size_t>(height * width), seed)),
        u(random_bytes(static_cast<std::size_t>((height + 1) / 2 * ((width + 1) / 2)), seed + 1)),
        v(random_bytes(u.size(), seed + 2)) {
    view.data = y.data();
    view.height_px = height;
    view.width_px = width;
    view.channels = 1;
    view.format = PixelFormat::kI420;
    view.planes[0] = u.data();
    view.planes[1] = v.data();
  }
  Bytes y, u, v;
  ImageView view;
};

}  // namespace

TEST_CASE("a view and its contiguous copy have one digest: strides, flips, four bytes a pixel, red last") {
  std::mt19937 random(3);
  for (unsigned i = 0; i < 40; ++i) {
    const auto height = 1 + static_cast<std::int32_t>(random() % 40);
    const auto width = 1 + static_cast<std::int32_t>(random() % 60);
    const Bytes pixels = random_bytes(static_cast<std::size_t>(height * width * 3), i);
    const ContentDigest expected = digest(rgb_view(pixels, height, width));
    for (const std::size_t step : {3U, 4U}) {
      for (const bool swap : {false, true}) {
        const std::size_t stride = static_cast<std::size_t>(width) * step + random() % 9;
        for (const std::uint8_t filler : {0, 77}) {
          const Bytes other = laid_out(pixels, height, width, step, stride, swap, filler);
          ImageView view{other.data(), height, width, static_cast<std::int32_t>(step),
                         static_cast<std::int64_t>(stride)};
          view.format = step == 3 ? (swap ? PixelFormat::kBgr : PixelFormat::kRgb)
                                  : (swap ? PixelFormat::kBgrx : PixelFormat::kRgbx);
          CHECK(digest(view) == expected);
        }
      }
    }
    // The rows in the other order, read backwards.
    Bytes flipped;
    const auto row = static_cast<std::size_t>(width) * 3;
    for (std::int32_t y = height - 1; y >= 0; --y) {
      const auto* begin = pixels.data() + static_cast<std::size_t>(y) * row;
      flipped.insert(flipped.end(), begin, begin + row);
    }
    const std::size_t last = (static_cast<std::size_t>(height) - 1) * row;
    CHECK(digest({flipped.data() + last, height, width, 3, -static_cast<std::int64_t>(row)}) == expected);
  }
}

TEST_CASE("a flipped bit of any pixel, another shape of the same bytes, and gray instead of RGB change it") {
  Bytes pixels = random_bytes(12 * 10 * 3, 1);
  std::set<ContentDigest> seen{digest(rgb_view(pixels, 12, 10))};
  std::size_t expected = 1;
  for (std::size_t bit = 0; bit < pixels.size() * 8; bit += 7) {
    pixels[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
    seen.insert(digest(rgb_view(pixels, 12, 10)));
    CHECK(seen.size() == ++expected);
    pixels[bit / 8] ^= static_cast<std::uint8_t>(1U << (bit % 8));
  }
  for (const auto& [height, width] : {std::pair{10, 12}, {1, 120}, {120, 1}, {6, 20}}) {
    seen.insert(digest(rgb_view(pixels, height, width)));
    CHECK(seen.size() == ++expected);
  }
  seen.insert(digest({pixels.data(), 12, 30, 1, 0}));  // the same bytes as gray
  CHECK(seen.size() == ++expected);
  ImageView frames = rgb_view(pixels, 6, 10);
  frames.next_frame = pixels.data() + 180;
  seen.insert(digest(frames));
  CHECK(seen.size() == ++expected);
  std::swap(frames.data, frames.next_frame);
  seen.insert(digest(frames));
  CHECK(seen.size() == ++expected);
}

TEST_CASE("an alpha channel counts as far as the bundle looks at it") {
  Bytes pixels = random_bytes(8 * 8 * 4, 2);
  const ImageView view{pixels.data(), 8, 8, 4, 0};
  PreprocessSpec composite;
  composite.alpha = Alpha::kComposite;
  PreprocessSpec on_black = composite;
  on_black.background = {0, 0, 0};
  const ContentDigest dropped = digest(view);
  const ContentDigest white = digest(view, 1, composite);
  const ContentDigest black = digest(view, 1, on_black);
  CHECK(std::set({dropped, white, black}).size() == 3);
  pixels[3] ^= 0x80U;
  CHECK(digest(view) == dropped);
  CHECK(digest(view, 1, composite) != white);
}

TEST_CASE("every plane of NV12 and I420, the matrix and the range change it; what lies between rows does not") {
  const Planar base(11, 9, 5);
  std::set<ContentDigest> seen{digest(base.view)};
  std::size_t expected = 1;
  for (Bytes Planar::* plane : {&Planar::y, &Planar::u, &Planar::v}) {
    for (const bool last : {false, true}) {
      Planar other(11, 9, 5);
      Bytes& bytes = other.*plane;
      bytes[last ? bytes.size() - 1 : 0] ^= 1U;
      seen.insert(digest(other.view));
      CHECK(seen.size() == ++expected);
    }
  }
  ImageView view = base.view;
  view.matrix = YuvMatrix::kBt709;
  seen.insert(digest(view));
  view.range = YuvRange::kFull;
  seen.insert(digest(view));
  Bytes both;
  for (std::size_t i = 0; i < base.u.size(); ++i) both.insert(both.end(), {base.u[i], base.v[i]});
  view = base.view;
  view.format = PixelFormat::kNv12;
  view.planes[0] = both.data();
  view.planes[1] = nullptr;
  seen.insert(digest(view));
  CHECK(seen.size() == expected + 3);

  Bytes wide(16 * 6, 99);
  for (std::size_t y = 0; y < 6; ++y) {
    for (std::size_t x = 0; x < 10; ++x) wide[y * 16 + x] = both[y * 10 + x];
  }
  const ContentDigest tight = digest(view);
  view.planes[0] = wide.data();
  view.plane_stride_bytes[0] = 16;
  CHECK(digest(view) == tight);
}

TEST_CASE("any number of threads gives the same digest, of pixels and of bytes") {
  const Bytes bytes = random_bytes(3 * 1000 * 701, 4);
  const ContentDigest pixels = digest(rgb_view(bytes, 1000, 701));
  const ContentDigest content = content_digest(bytes);
  for (const int threads : {2, 3, 8}) {
    CHECK(digest(rgb_view(bytes, 1000, 701), threads) == pixels);
    CHECK(content_digest(bytes, threads) == content);
  }
}

TEST_CASE("bytes of other lengths and with another bit have other digests, at the borders of leaves too") {
  Bytes bytes = random_bytes(2 * kLeafBytes + 1, 6);
  std::set<ContentDigest> seen;
  std::size_t expected = 0;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, kLeafBytes - 1, kLeafBytes, kLeafBytes + 1,
                                 2 * kLeafBytes, 2 * kLeafBytes + 1}) {
    seen.insert(content_digest(std::span(bytes).first(size)));
    CHECK(seen.size() == ++expected);
  }
  for (const std::size_t at : {std::size_t{0}, kLeafBytes - 1, kLeafBytes, 2 * kLeafBytes}) {
    bytes[at] ^= 4U;
    seen.insert(content_digest(bytes));
    CHECK(seen.size() == ++expected);
    bytes[at] ^= 4U;
  }
}

TEST_CASE("fields of a record cannot be moved into one another") {
  std::set<ContentDigest> seen;
  seen.insert(FieldHash("a").text("bc").finish());
  seen.insert(FieldHash("ab").text("c").finish());
  seen.insert(FieldHash("a").text("b").text("c").finish());
  seen.insert(FieldHash("a").number(1).number(2).finish());
  seen.insert(FieldHash("a").number(2).number(1).finish());
  CHECK(seen.size() == 5);
}

#include "cache/pixel_digest.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cache/tree_hash.h"
#include "pixels/pixel_rows.h"
#include "pixels/simd_level.h"

namespace navit_edge {
namespace {

constexpr std::size_t kBytesForThreads = std::size_t{1} << 20;

std::span<const std::byte> bytes_at(const std::uint8_t* data, std::size_t count) {
  return std::as_bytes(std::span(data, count));
}

/// Rows of `row_bytes` each, which `row(y, hash)` feeds, in leaves of whole rows.
template <class Row>
ContentDigest of_rows(FieldHash& head, std::size_t rows, std::size_t row_bytes, int threads, Row&& row) {
  const std::size_t rows_of_leaf = std::max<std::size_t>(kLeafBytes / row_bytes, 1);
  head.number(static_cast<std::int64_t>(rows)).number(static_cast<std::int64_t>(row_bytes));
  const std::size_t leaves = (rows + rows_of_leaf - 1) / rows_of_leaf;
  return tree_hash(head, leaves, rows * row_bytes < kBytesForThreads ? 1 : threads,
                   [&](std::size_t leaf, Sha256& hash) {
                     const std::size_t end = std::min(rows, (leaf + 1) * rows_of_leaf);
                     for (std::size_t y = leaf * rows_of_leaf; y < end; ++y) row(y, hash);
                   });
}

ContentDigest of_frame(const ImageView& image, const PreprocessSpec& preprocess, int threads) {
  const PixelRows rows =
      PixelRows::rgb(image, preprocess.alpha, preprocess.background, pixel_kernels(best_simd_level()));
  const auto row_bytes = static_cast<std::size_t>(image.width_px) * static_cast<std::size_t>(rows.channels());
  FieldHash head("rows");
  head.number(image.height_px).number(image.width_px).number(rows.channels());
  return of_rows(head, static_cast<std::size_t>(image.height_px), row_bytes, threads, [&](std::size_t y, Sha256& hash) {
    thread_local std::vector<std::uint8_t> scratch;
    const std::size_t needed = rows.scratch_bytes(image.width_px);
    if (scratch.size() < needed) scratch.resize(needed);
    hash.update(bytes_at(rows.pixels(static_cast<std::int32_t>(y), 0, image.width_px, scratch.data()), row_bytes));
  });
}

/// Y, then the chroma rows: half the bytes of RGB, and nothing to convert.
ContentDigest of_planes(const ImageView& image, int threads) {
  const bool nv12 = image.pixel_format() == PixelFormat::kNv12;
  const auto height = static_cast<std::size_t>(image.height_px);
  const auto width = static_cast<std::size_t>(image.width_px);
  const std::size_t pairs = (width + 1) / 2;
  FieldHash head(nv12 ? "nv12" : "i420");
  head.number(image.height_px).number(image.width_px);
  head.number(static_cast<std::int64_t>(image.matrix)).number(static_cast<std::int64_t>(image.range));
  // A row of it: two rows of Y, the last one perhaps missing, and their chroma.
  return of_rows(head, (height + 1) / 2, 2 * width + 2 * pairs, threads, [&](std::size_t row, Sha256& hash) {
    const auto y = static_cast<std::int64_t>(2 * row);
    hash.update(bytes_at(image.data + y * image.stride(), width));
    if (y + 1 < image.height_px) hash.update(bytes_at(image.data + (y + 1) * image.stride(), width));
    const auto at = static_cast<std::int64_t>(row);
    hash.update(bytes_at(image.planes[0] + at * image.plane_stride(0), nv12 ? 2 * pairs : pairs));
    if (!nv12) hash.update(bytes_at(image.planes[1] + at * image.plane_stride(1), pairs));
  });
}

}  // namespace

ContentDigest pixel_digest(const ImageView& image, const PreprocessSpec& preprocess, int threads) {
  const PixelFormat format = image.pixel_format();
  if (format == PixelFormat::kNv12 || format == PixelFormat::kI420) return of_planes(image, threads);
  const ContentDigest first = of_frame(image.frame(0), preprocess, threads);
  if (image.next_frame == nullptr) return first;
  return FieldHash("two frames").digest(first).digest(of_frame(image.frame(1), preprocess, threads)).finish();
}

}  // namespace navit_edge

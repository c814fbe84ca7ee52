#include "cache/pixel_digest.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "cache/tree_hash.h"
#include "pixels/pixel_rows.h"
#include "pixels/simd_level.h"

namespace navit_edge {
namespace {

constexpr std::size_t kBytesForThreads = std::size_t{1} << 20;

/// Rows of `row_bytes` each, in leaves of whole rows. `row(y, to)` writes one, and up to kPixelSlack bytes behind it;
/// `adjacent`: where the rows lie, if they do so without gaps and need no writing, else null.
template <class Row>
ContentDigest of_rows(FieldHash& head, std::size_t rows, std::size_t row_bytes, int threads,
                      const std::uint8_t* adjacent, Row&& row) {
  const std::size_t rows_of_leaf = std::max<std::size_t>(kLeafBytes / row_bytes, 1);
  head.number(static_cast<std::int64_t>(rows)).number(static_cast<std::int64_t>(row_bytes));
  const std::size_t leaves = (rows + rows_of_leaf - 1) / rows_of_leaf;
  const std::size_t scratch_bytes = adjacent != nullptr ? 0 : rows_of_leaf * row_bytes + kPixelSlack;
  return tree_hash(head, leaves, rows * row_bytes < kBytesForThreads ? 1 : threads, scratch_bytes,
                   [&](std::size_t leaf, std::uint8_t* scratch) {
                     const std::size_t begin = leaf * rows_of_leaf;
                     const std::size_t count = std::min(rows - begin, rows_of_leaf);
                     if (adjacent != nullptr) return std::span(adjacent + begin * row_bytes, count * row_bytes);
                     for (std::size_t y = 0; y < count; ++y) row(begin + y, scratch + y * row_bytes);
                     return std::span<const std::uint8_t>(scratch, count * row_bytes);
                   });
}

ContentDigest of_frame(const ImageView& image, const PreprocessSpec& preprocess, int threads) {
  const PixelRows rows =
      PixelRows::rgb(image, preprocess.alpha, preprocess.background, pixel_kernels(best_simd_level()));
  const auto row_bytes = static_cast<std::size_t>(image.width_px) * static_cast<std::size_t>(rows.channels());
  FieldHash head("rows");
  head.number(image.height_px).number(image.width_px).number(rows.channels());
  const bool adjacent = rows.direct() && rows.stride() == static_cast<std::int64_t>(row_bytes);
  return of_rows(head, static_cast<std::size_t>(image.height_px), row_bytes, threads, adjacent ? image.data : nullptr,
                 [&](std::size_t y, std::uint8_t* to) {
                   const std::uint8_t* row = rows.pixels(static_cast<std::int32_t>(y), 0, image.width_px, to);
                   if (row != to) std::copy_n(row, row_bytes, to);
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
  // A row of it: two rows of Y, the last one perhaps zeros, and their chroma.
  return of_rows(head, (height + 1) / 2, 2 * width + 2 * pairs, threads, nullptr,
                 [&](std::size_t row, std::uint8_t* to) {
                   const auto at = static_cast<std::int64_t>(row);
                   to = std::copy_n(image.data + 2 * at * image.stride(), width, to);
                   to = 2 * row + 1 < height ? std::copy_n(image.data + (2 * at + 1) * image.stride(), width, to)
                                             : std::fill_n(to, width, std::uint8_t{0});
                   to = std::copy_n(image.planes[0] + at * image.plane_stride(0), nv12 ? 2 * pairs : pairs, to);
                   if (!nv12) std::copy_n(image.planes[1] + at * image.plane_stride(1), pairs, to);
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

#include "pixels/resizer.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/index.h"

namespace navit_edge {
namespace {

std::size_t padded(std::size_t bytes) { return (bytes + kPadding - 1) / kPadding * kPadding; }

void grow(std::vector<std::uint8_t>& buffer, std::size_t bytes) {
  if (buffer.size() < bytes) buffer.resize(bytes);
}

/// Pixel quads that are spread at a time: as much as stays in the first-level cache.
constexpr std::int32_t kChunkQuads = 64;

}  // namespace

bool goes_down_first(Size image, Size target) noexcept {
  const std::int64_t rows_lost = std::int64_t{image.height_px} - target.height_px;
  const std::int64_t columns_lost = std::int64_t{image.width_px} - target.width_px;
  return rows_lost > 0 && rows_lost > 2 * columns_lost;
}

void Resizer::prepare_ring(std::size_t values, std::size_t quads) {
  ring_quads_ = std::bit_ceil(quads);
  ring_stride_ = 4 * padded(values);
  grow(ring_, ring_quads_ * ring_stride_);
}

template <class Rows>
void Resizer::across_chunks(std::int32_t channels, std::uint8_t* const* lines, Rows rows) {
  const std::int32_t groups = static_cast<std::int32_t>(across_.first_quad.size()) / 4;
  const std::int32_t most = std::max(kChunkQuads, 3 * across_.most_quads);
  for (std::int32_t begin = 0; begin < groups;) {
    const std::int32_t first = across_.first_quad[index(4 * begin)];
    const auto end_of = [&](std::int32_t group) {
      std::int32_t end = 0;
      for (std::int32_t x = 4 * group; x < 4 * group + 4; ++x) {
        end = std::max(end, across_.first_quad[index(x)] + across_.quad_count[index(x)]);
      }
      return end;
    };
    std::int32_t last = end_of(begin);
    std::int32_t end = begin + 1;
    for (; end < groups && end_of(end) - first <= most; ++end) last = std::max(last, end_of(end));

    const std::int32_t x_end = std::min(4 * last, across_.in);
    const std::uint8_t* pointers[kBlockRows];
    for (std::int32_t r = 0; r < kBlockRows; ++r) pointers[r] = rows(r, 4 * first, x_end);
    grow(spread_, index(last - first + 16) * index(channels) * 4 * kBlockRows);
    kernels_.spread(pointers, index(x_end - 4 * first), channels, spread_.data());

    std::uint8_t* at[kBlockQuads];
    for (int q = 0; q < kBlockQuads; ++q) at[q] = lines[q] + index(begin) * 16 * index(channels);
    const std::size_t x = 4 * index(begin);
    kernels_.across(spread_.data(), first, channels, across_.first_quad.data() + x, across_.quad_count.data() + x,
                    across_.start.data() + x, across_.words.data() + x * index(across_.words_stride),
                    across_.words_stride, end - begin, at);
    begin = end;
  }
}

/// Rows [first_row, first_row + kBlockRows) of the image go across, into the ring.
void Resizer::across_block(const PixelRows& image, std::int32_t first_row) {
  std::uint8_t* lines[kBlockQuads];
  for (int q = 0; q < kBlockQuads; ++q) lines[q] = line(first_row / 4 + q);
  across_chunks(image.channels(), lines, [&](std::int32_t r, std::int32_t x_begin, std::int32_t x_end) {
    // Rows below the image repeat its last one; their weights are zero.
    const std::int32_t y = std::min(first_row + r, image.size().height_px - 1);
    const std::size_t scratch_row = image.scratch_bytes(x_end - x_begin);
    grow(scratch_, kBlockRows * scratch_row);
    return image.pixels(y, x_begin, x_end, scratch_.data() + index(r) * scratch_row);
  });
}

/// Four rows of the image as they are, into the ring.
void Resizer::interleave_quad(const PixelRows& image, std::int32_t quad) {
  const std::int32_t width = image.size().width_px;
  const std::size_t scratch_row = image.scratch_bytes(width);
  grow(scratch_, 4 * scratch_row);
  const std::uint8_t* rows[4];
  for (std::int32_t r = 0; r < 4; ++r) {
    const std::int32_t y = std::min(4 * quad + r, image.size().height_px - 1);
    rows[r] = image.pixels(y, 0, width, scratch_.data() + index(r) * scratch_row);
  }
  kernels_.interleave(rows, index(width) * index(image.channels()), line(quad));
}

/// Row y of the vertical pass, from the ring.
void Resizer::combine(std::int32_t y, std::size_t bytes, std::uint8_t* out) {
  const std::int32_t first = down_.first_quad[index(y)];
  const std::int32_t quads = down_.quad_count[index(y)];
  lines_.resize(index(down_.most_quads));
  for (std::int32_t q = 0; q < quads; ++q) lines_[index(q)] = line(first + q);
  kernels_.down(lines_.data(), down_.words.data() + index(y) * index(down_.words_stride), quads, down_.start[index(y)],
                bytes, out);
}

void Resizer::across_then_down(const PixelRows& image, Size target, std::int32_t row_begin, std::int32_t row_end,
                               const RowSink& sink) {
  const bool across = image.size().width_px != target.width_px;
  const bool down = image.size().height_px != target.height_px;
  const std::size_t bytes = index(target.width_px) * index(image.channels());
  prepare_ring(across ? across_.first_quad.size() * index(image.channels()) : bytes,
               index(down ? down_.most_quads : 1) + kBlockQuads);
  grow(combined_, padded(bytes));
  const auto first_quad = [&](std::int32_t y) { return down ? down_.first_quad[index(y)] : y / 4; };
  std::int32_t ready = row_begin < row_end ? first_quad(row_begin) : 0;  // quads before this one are in the ring
  for (std::int32_t y = row_begin; y < row_end; ++y) {
    const std::int32_t end = first_quad(y) + (down ? down_.quad_count[index(y)] : 1);
    while (ready < end) {
      if (across) {
        across_block(image, 4 * ready);
        ready += kBlockQuads;
      } else {
        interleave_quad(image, ready++);
      }
    }
    if (down) {
      combine(y, bytes, combined_.data());
    } else {
      const std::uint8_t* only = line(y / 4);
      kernels_.down(&only, picker_.words(y), 1, picker_.start(), bytes, combined_.data());
    }
    sink(y, combined_.data());
  }
}

void Resizer::down_then_across(const PixelRows& image, Size target, std::int32_t row_begin, std::int32_t row_end,
                               const RowSink& sink) {
  const std::size_t channels = index(image.channels());
  const std::size_t in_bytes = index(image.size().width_px) * channels;
  const std::size_t out_bytes = index(target.width_px) * channels;
  const std::size_t in_row = padded(in_bytes);
  const std::size_t out_line = 4 * padded(across_.first_quad.size() * channels);
  prepare_ring(in_bytes, index(down_.most_quads) + 1);
  grow(combined_, kBlockRows * in_row + kBlockQuads * out_line + padded(out_bytes));
  std::uint8_t* const in = combined_.data();
  std::uint8_t* const out = in + kBlockRows * in_row + kBlockQuads * out_line;
  std::uint8_t* lines[kBlockQuads];
  for (int q = 0; q < kBlockQuads; ++q) lines[q] = in + kBlockRows * in_row + static_cast<std::size_t>(q) * out_line;
  std::int32_t ready = row_begin < row_end ? down_.first_quad[index(row_begin)] : 0;
  for (std::int32_t y = row_begin; y < row_end; y += kBlockRows) {
    const std::int32_t rows = std::min<std::int32_t>(kBlockRows, row_end - y);
    for (std::int32_t r = 0; r < rows; ++r) {
      const std::int32_t end = down_.first_quad[index(y + r)] + down_.quad_count[index(y + r)];
      while (ready < end) interleave_quad(image, ready++);
      combine(y + r, in_bytes, in + index(r) * in_row);
    }
    across_chunks(image.channels(), lines, [&](std::int32_t r, std::int32_t x_begin, std::int32_t) {
      return in + index(std::min(r, rows - 1)) * in_row + index(x_begin) * channels;
    });
    for (std::int32_t r = 0; r < rows; ++r) {
      const std::uint8_t* only = lines[r / 4];
      kernels_.down(&only, picker_.words(r), 1, picker_.start(), out_bytes, out);
      sink(y + r, out);
    }
  }
}

void Resizer::nearest_rows(const PixelRows& image, Size target, std::int32_t row_begin, std::int32_t row_end,
                           const RowSink& sink) {
  std::vector<std::int32_t>& columns = nearest_columns_;
  std::vector<std::int32_t>& rows = nearest_rows_;
  nearest_indices(image.size().width_px, target.width_px, columns);
  nearest_indices(image.size().height_px, target.height_px, rows);
  const std::size_t channels = index(image.channels());
  grow(scratch_, image.scratch_bytes(image.size().width_px));
  grow(combined_, columns.size() * channels);
  for (std::int32_t y = row_begin; y < row_end; ++y) {
    std::uint8_t* out = combined_.data();
    std::memset(out, 0, columns.size() * channels);
    if (rows[index(y)] >= 0) {
      const std::uint8_t* row = image.pixels(rows[index(y)], 0, image.size().width_px, scratch_.data());
      for (const std::int32_t x : columns) {
        for (std::size_t c = 0; x >= 0 && c < channels; ++c) out[c] = row[index(x) * channels + c];
        out += channels;
      }
    }
    sink(y, combined_.data());
  }
}

void Resizer::untouched_rows(const PixelRows& image, std::int32_t row_begin, std::int32_t row_end,
                             const RowSink& sink) {
  const std::int32_t width = image.size().width_px;
  grow(scratch_, image.scratch_bytes(width));
  for (std::int32_t y = row_begin; y < row_end; ++y) sink(y, image.pixels(y, 0, width, scratch_.data()));
}

// Each line is what the functions above ask for, at most.
void Resizer::reserve(Size image, Size target, Filter filter, Processor processor) {
  const std::size_t in_bytes = index(image.width_px) * kChannels;
  const std::size_t out_bytes = index(target.width_px) * kChannels;
  const std::size_t slack_row = in_bytes + kPixelSlack;
  if (filter == Filter::kNearest) {
    nearest_columns_.reserve(index(target.width_px));
    nearest_rows_.reserve(index(target.height_px));
    scratch_.reserve(slack_row);
    combined_.reserve(out_bytes);
    return;
  }
  const Size least{2 * target.height_px / 3, 2 * target.width_px / 3};
  across_.reserve(image.width_px, least.width_px, target.width_px, filter);
  down_.reserve(image.height_px, least.height_px, target.height_px, filter);
  const std::size_t down_quads = index(quads_bound(image.height_px, least.height_px, filter));
  const std::int32_t across_quads = quads_bound(image.width_px, least.width_px, filter);
  const std::int32_t apart = (3 * image.width_px) / (4 * least.width_px) + 2;  // of the outputs of a group, in quads
  const std::size_t chunk = index(std::max({kChunkQuads, 3 * across_quads, across_quads + apart}));
  const std::size_t out_line = 4 * padded((index(target.width_px) + 3) / 4 * 4 * kChannels);
  lines_.reserve(down_quads);
  spread_.reserve((chunk + 16) * kChannels * 4 * kBlockRows);
  scratch_.reserve(std::max(kBlockRows * (4 * chunk * kChannels + kPixelSlack), 4 * slack_row));
  if (processor != Processor::kTorchvision && goes_down_first(image, target)) {
    ring_.reserve(std::bit_ceil(down_quads + 1) * 4 * padded(in_bytes));
    combined_.reserve(kBlockRows * padded(in_bytes) + kBlockQuads * out_line + padded(out_bytes));
  } else {
    ring_.reserve(std::bit_ceil(down_quads + kBlockQuads) * out_line);
    combined_.reserve(padded(out_bytes));
  }
}

std::size_t Resizer::bytes() const noexcept {
  return buffer_bytes() + across_.bytes() + down_.bytes() + lines_.capacity() * sizeof(lines_[0]) +
         (nearest_columns_.capacity() + nearest_rows_.capacity()) * sizeof(std::int32_t);
}

void Resizer::rows(const PixelRows& image, Size target, Filter filter, std::int32_t row_begin, std::int32_t row_end,
                   const RowSink& sink, Processor processor) {
  const Size size = image.size();
  if (size == target) return untouched_rows(image, row_begin, row_end, sink);
  if (filter == Filter::kNearest) return nearest_rows(image, target, row_begin, row_end, sink);
  const bool across = size.width_px != target.width_px;
  const bool down = size.height_px != target.height_px;
  if (down) down_.prepare(size.height_px, target.height_px, filter, processor, kernels_);
  if (across) across_.prepare(size.width_px, target.width_px, filter, processor, kernels_);
  const bool down_first = processor != Processor::kTorchvision && goes_down_first(size, target);
  if (across && down && down_first) return down_then_across(image, target, row_begin, row_end, sink);
  across_then_down(image, target, row_begin, row_end, sink);
}

}  // namespace navit_edge

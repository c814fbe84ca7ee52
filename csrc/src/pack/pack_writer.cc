#include "navit_edge/pack_writer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <utility>
#include <variant>

#include "base/thread_pool.h"
#include "bundle/graph_check.h"
#include "navit_edge/error.h"
#include "navit_edge/plan.h"
#include "pack/memory_plan.h"
#include "pack/merge_layout.h"
#include "pack/scratch.h"
#include "pack/shape_quantum.h"
#include "pixels/image_check.h"

namespace navit_edge {
namespace {

std::size_t index(std::int32_t i) { return static_cast<std::size_t>(i); }

HostTensor& input_tensor(Pack& pack, std::size_t i, const TensorSpec& spec) {
  if (pack.inputs.size() <= i || pack.inputs[i].name() != spec.name || pack.inputs[i].dtype() != spec.dtype) {
    if (pack.inputs.size() <= i) pack.inputs.resize(i + 1);
    pack.inputs[i] = HostTensor(spec.name, spec.dtype);
  }
  return pack.inputs[i];
}

/// Where the bytes of a frame go: patch by patch, row-major over the grid, P rows of P * C bytes each. A patch holds
/// its frames one after another.
struct PatchLayout {
  std::int32_t patch_px;
  std::int32_t frames;
  Grid grid;
  std::uint8_t* first_patch;

  [[nodiscard]] std::size_t row_bytes() const { return index(patch_px) * kChannels; }
  [[nodiscard]] std::size_t frame_bytes() const { return index(patch_px) * row_bytes(); }
  [[nodiscard]] std::size_t patch_bytes() const { return index(frames) * frame_bytes(); }
  [[nodiscard]] std::uint8_t* patch_row(std::int32_t row) const {
    return first_patch + index(row) * index(grid.cols) * patch_bytes();
  }
};

/// Copies row y of the resized image to its patches. kRowBytes: P * C where it is known when compiling, 0 elsewhere.
template <std::size_t kRowBytes>
void scatter_row(const std::uint8_t* row, std::int32_t y, const PatchLayout& to) {
  const std::size_t row_bytes = kRowBytes != 0 ? kRowBytes : to.row_bytes();
  const std::size_t patch_bytes = row_bytes * index(to.patch_px) * index(to.frames);
  std::uint8_t* out = to.patch_row(y / to.patch_px) + index(y % to.patch_px) * row_bytes;
  for (std::int32_t c = 0; c < to.grid.cols; ++c, row += row_bytes, out += patch_bytes) {
    std::memcpy(out, row, row_bytes);
  }
}

/// Moves a band of an image that is neither resized nor converted. Patch after patch is written whole, from P rows at
/// once: by row, each line of the cache would be written in parts.
template <std::size_t kRowBytes>
void move_rows(const PixelRows& image, const Band& band, const PatchLayout& to) {
  const std::size_t row_bytes = kRowBytes != 0 ? kRowBytes : to.row_bytes();
  const std::int64_t stride = image.stride();
  std::uint8_t* out = to.patch_row(band.row_begin);
  for (std::int32_t row = band.row_begin; row < band.row_end; ++row) {
    const std::uint8_t* const first = image.pixels(row * to.patch_px, 0, image.size().width_px, nullptr);
    for (std::int32_t c = 0; c < to.grid.cols; ++c) {
      const std::uint8_t* from = first + index(c) * row_bytes;
      for (std::int32_t i = 0; i < to.patch_px; ++i, from += stride, out += row_bytes) {
        std::memcpy(out, from, row_bytes);
      }
      out += to.patch_bytes() - to.frame_bytes();
    }
  }
}

template <std::size_t kRowBytes>
void write_rows(const PixelRows& image, const Band& band, const PreprocessSpec& preprocess, const PixelKernels& pixels,
                const Segment& segment, const Rgb& pad_rgb, const PatchLayout& to, WorkerScratch& scratch) {
  const Size target{to.grid.rows * to.patch_px, to.grid.cols * to.patch_px};
  const bool gray = image.channels() == 1;
  const Size content = resized_size(image.size(), segment.placement);  // less than the target if that is filled up
  if (image.direct() && !gray && image.size() == target && content == target) {
    return move_rows<kRowBytes>(image, band, to);
  }
  const std::int32_t row_begin = band.row_begin * to.patch_px;
  const std::int32_t row_end = band.row_end * to.patch_px;
  if (!segment.placement.resized) {
    return pad_crop(image, pixels, segment.placement, target, pad_rgb, row_begin, row_end, scratch.pad_crop,
                    [&](std::int32_t y, const std::uint8_t* row) { scatter_row<kRowBytes>(row, y, to); });
  }
  std::vector<std::uint8_t>& mixed = scratch.pad_crop.mixed;  // a row whose end, or all of it, is the colour
  const auto fill_from = [&](std::int32_t column) {
    mixed.resize(index(target.width_px) * kChannels);
    for (std::size_t i = index(column) * kChannels; i < mixed.size(); ++i) mixed[i] = pad_rgb[i % kChannels];
  };
  if (content.width_px < target.width_px) fill_from(content.width_px);
  if (gray) scratch.three.resize(index(content.width_px) * kChannels + kPixelSlack);
  std::uint8_t* const expanded = scratch.three.data();
  const std::int32_t content_end = std::clamp(content.height_px, row_begin, row_end);
  if (content_end > row_begin) {
    scratch.resizer.rows(
        image, content, preprocess.filter, row_begin, content_end,
        [&](std::int32_t y, const std::uint8_t* row) {
          if (gray) pixels.expand(row, index(content.width_px), expanded);
          const std::uint8_t* from = gray ? expanded : row;
          if (content.width_px < target.width_px) {
            std::memcpy(mixed.data(), from, index(content.width_px) * kChannels);
            from = mixed.data();
          }
          scatter_row<kRowBytes>(from, y, to);
        },
        preprocess.processor);
  }
  if (content_end == row_end) return;
  fill_from(0);
  for (std::int32_t y = content_end; y < row_end; ++y) scatter_row<kRowBytes>(mixed.data(), y, to);
}

void write_frame(const Band& band, const ImageView& image, const Segment& segment, const PreprocessSpec& preprocess,
                 std::uint8_t* first_patch, WorkerScratch& scratch) {
  const PixelKernels& pixels = pixel_kernels(best_simd_level());
  const PixelRows source = PixelRows::rgb(image, preprocess.alpha, preprocess.background, pixels);
  const PatchLayout to{preprocess.patch_px, preprocess.frames, segment.grid, first_patch};
  Rgb pad_rgb{};
  if (const auto* native = std::get_if<Native>(&preprocess.sizing.rule)) pad_rgb = native->pad_rgb;
  if (const auto* fills = std::get_if<NavitResize>(&preprocess.sizing.rule)) pad_rgb = fills->pad_rgb;
  switch (preprocess.patch_px) {
    case 16:
      return write_rows<16 * kChannels>(source, band, preprocess, pixels, segment, pad_rgb, to, scratch);
    case 14:
      return write_rows<14 * kChannels>(source, band, preprocess, pixels, segment, pad_rgb, to, scratch);
    case 32:
      return write_rows<32 * kChannels>(source, band, preprocess, pixels, segment, pad_rgb, to, scratch);
    default:
      return write_rows<0>(source, band, preprocess, pixels, segment, pad_rgb, to, scratch);
  }
}

void write_band(const Band& band, const ImageView& image, const Segment& segment, const PreprocessSpec& preprocess,
                std::uint8_t* first_patch, WorkerScratch& scratch) {
  const std::size_t frame_bytes = index(preprocess.patch_px) * index(preprocess.patch_px) * kChannels;
  for (std::int32_t frame = 0; frame < preprocess.frames; ++frame) {
    write_frame(band, image.frame(frame), segment, preprocess, first_patch + index(frame) * frame_bytes, scratch);
  }
}

/// Splits large images, so that the threads end together. One thread takes every image whole.
void split_into_bands(const Pack& pack, std::span<const ImageView> images, std::int32_t patch_px, int threads,
                      std::vector<Band>& bands) {
  const auto cost = [&](const Segment& segment) {
    const ImageView& image = images[index(segment.image)];
    return std::int64_t{image.height_px} * image.width_px + segment.grid.tokens() * patch_px * patch_px;
  };
  std::int64_t total = 0;
  for (const Segment& segment : pack.segments) total += cost(segment);
  constexpr std::int64_t kLeastPixels = 1 << 16;  // below, a band costs more than it saves
  const std::int64_t share = std::max(kLeastPixels, total / (std::int64_t{4} * threads));
  bands.clear();
  for (std::size_t s = 0; s < pack.segments.size(); ++s) {
    const std::int32_t rows = pack.segments[s].grid.rows;
    const auto pieces =
        static_cast<std::int32_t>(threads > 1 ? std::clamp<std::int64_t>(cost(pack.segments[s]) / share, 1, rows) : 1);
    for (std::int32_t piece = 0; piece < pieces; ++piece) {
      bands.push_back({s, static_cast<std::int32_t>(std::int64_t{rows} * piece / pieces),
                       static_cast<std::int32_t>(std::int64_t{rows} * (piece + 1) / pieces)});
    }
  }
}

void require_image(std::int32_t i, std::span<const ImageView> images) {
  if (i >= 0 && index(i) < images.size()) return;
  throw InvalidInput("the plan names image " + std::to_string(i) + "; there are " + std::to_string(images.size()));
}

/// Lays the images out: segments, T, N, L.
void lay_out(const PackSpec& spec, const PackPlan& plan, std::span<const ImageView> images, std::span<const Grid> grids,
             Pack& out) {
  const PreprocessSpec& preprocess = spec.preprocess;
  const ModelSpec& model = spec.model;
  if (grids.size() != images.size()) {
    throw InvalidInput("a pack was given " + std::to_string(images.size()) + " images and " +
                       std::to_string(grids.size()) + " grids; expected one grid an image");
  }
  if (plan.budget < 0 || index(plan.budget) >= spec.budgets.size()) {
    throw InvalidInput("the plan names budget " + std::to_string(plan.budget) + "; there are " +
                       std::to_string(spec.budgets.size()));
  }
  const Budget& budget = spec.budgets[index(plan.budget)];
  if (plan.images.empty()) throw InvalidInput("the pack holds no image; expected at least one");
  out.segments.clear();
  out.longest = 0;
  std::int64_t tokens = 0;
  for (const std::int32_t i : plan.images) {
    require_image(i, images);
    const Grid grid = grids[index(i)];
    if (grid.rows < 1 || grid.cols < 1 ||
        std::max(grid.rows, grid.cols) > std::numeric_limits<std::int32_t>::max() / preprocess.patch_px) {
      throw InvalidInput("image " + std::to_string(i) + " has a grid of " + std::to_string(grid.rows) + " x " +
                         std::to_string(grid.cols) + " patches; expected the result of resize_target");
    }
    const std::int64_t length = grid.tokens() + model.prefix_tokens;
    out.segments.push_back(
        {i, static_cast<std::int32_t>(tokens), grid, placement_of(images[index(i)].size(), grid, preprocess)});
    tokens += length;
    if (tokens > budget.tokens) {
      throw InvalidInput("the pack needs more than its budget of " + std::to_string(budget.tokens) +
                         " tokens at image " + std::to_string(i) + "; plan it with plan_packs");
    }
    out.longest = std::max(out.longest, static_cast<std::int32_t>(length));
  }
  const auto count = static_cast<std::int64_t>(out.segments.size());
  if (count > budget.images) {
    throw InvalidInput("the pack holds " + std::to_string(count) + " images; its budget is " +
                       std::to_string(budget.images) + "; plan it with plan_packs");
  }
  out.used_tokens = static_cast<std::int32_t>(tokens);
  // Rows of merged patches are whole blocks, and no tensor outgrows what its slot has set aside.
  const std::int32_t block = model.block_side() * model.block_side();
  out.tokens = spec.dynamic_tokens
                   ? rounded_up(out.used_tokens, std::lcm(spec.quantum, block), budget.tokens / block * block)
                   : budget.tokens;
  const std::int32_t most_longest = with_longest(budget, preprocess, model, spec.quantum).longest;
  if (spec.dynamic_tokens) out.longest = rounded_up(out.longest, spec.quantum, most_longest);
  out.images = spec.dynamic_tokens ? static_cast<std::int32_t>(count) : budget.images;
}

std::int32_t length_of(const Segment& segment, const ModelSpec& model) {
  return static_cast<std::int32_t>(segment.grid.tokens()) + model.prefix_tokens;
}

void fill_positions(const Pack& pack, const ModelSpec& model, std::int32_t* out) {  // [T, 2]
  for (const Segment& segment : pack.segments) {
    for (std::int32_t k = 0; k < model.prefix_tokens; ++k) {
      *out++ = -1 - k;
      *out++ = -1 - k;
    }
    for (std::int32_t row = 0; row < segment.grid.rows; ++row) {
      for (std::int32_t col = 0; col < segment.grid.cols; ++col) {
        *out++ = row;
        *out++ = col;
      }
    }
  }
  std::fill_n(out, 2 * (pack.tokens - pack.used_tokens), 0);
}

void fill_segment_ids(const Pack& pack, const ModelSpec& model, std::int32_t* out) {  // [T]
  std::int32_t id = 0;
  for (const Segment& segment : pack.segments) out = std::fill_n(out, length_of(segment, model), id++);
  std::fill_n(out, pack.tokens - pack.used_tokens, pack.images);
}

void fill_grid_hw(const Pack& pack, std::int32_t* out) {  // [N, 2]
  for (const Segment& segment : pack.segments) {
    *out++ = segment.grid.rows;
    *out++ = segment.grid.cols;
  }
  std::fill_n(out, 2 * (index(pack.images) - pack.segments.size()), 1);
}

void fill_attention_index(const Pack& pack, const ModelSpec& model, std::int32_t* out) {  // [N, L]
  for (const Segment& segment : pack.segments) {
    const std::int32_t length = length_of(segment, model);
    for (std::int32_t l = 0; l < length; ++l) *out++ = segment.first_token + l;
    out = std::fill_n(out, pack.longest - length, -1);
  }
  std::fill_n(out, (index(pack.images) - pack.segments.size()) * index(pack.longest), -1);
}

void fill_token_index(const Pack& pack, const ModelSpec& model, std::int32_t* out) {  // [T]
  std::int32_t start = 0;
  for (const Segment& segment : pack.segments) {
    const std::int32_t length = length_of(segment, model);
    for (std::int32_t l = 0; l < length; ++l) *out++ = start + l;
    start += pack.longest;
  }
  std::fill_n(out, pack.tokens - pack.used_tokens, 0);
}

void fill_cu_seqlens(const Pack& pack, const ModelSpec& model, std::int32_t* out) {  // [N+1]
  std::int32_t sum = 0;
  for (const Segment& segment : pack.segments) {
    *out++ = sum;
    sum += length_of(segment, model);
  }
  std::fill_n(out, index(pack.images) + 1 - pack.segments.size(), sum);  // images without tokens, and the end
}

void fill_patches(const Pack& pack, std::span<const ImageView> images, const PreprocessSpec& preprocess,
                  const ModelSpec& model, int threads, std::uint8_t* out) {  // [T, F]
  const std::size_t patch_bytes =
      index(preprocess.patch_px) * index(preprocess.patch_px) * kChannels * index(preprocess.frames);
  for (const Segment& segment : pack.segments) {
    std::memset(out + index(segment.first_token) * patch_bytes, 0, index(model.prefix_tokens) * patch_bytes);
  }
  std::memset(out + index(pack.used_tokens) * patch_bytes, 0, index(pack.tokens - pack.used_tokens) * patch_bytes);

  PackScratch& scratch = *pack.scratch;
  if (scratch.workers.size() < static_cast<std::size_t>(std::max(1, threads))) {
    scratch.workers.resize(static_cast<std::size_t>(std::max(1, threads)));
  }
  const std::vector<Band>& bands = scratch.bands;
  split_into_bands(pack, images, preprocess.patch_px, threads, scratch.bands);
  parallel_for(bands.size(), threads, [&](std::size_t i, std::size_t worker) {
    const Segment& segment = pack.segments[bands[i].segment];
    write_band(bands[i], images[index(segment.image)], segment, preprocess,
               out + index(segment.first_token + model.prefix_tokens) * patch_bytes, scratch.workers[worker]);
  });
}

}  // namespace

struct PackWriter::Impl {
  PackSpec spec;
  std::vector<GraphInput> inputs;  // [inputs of the graph]
};

PackWriter::PackWriter(PackSpec spec) : impl_(std::make_unique<Impl>()) {
  impl_->inputs = graph_inputs(spec.graph, spec.preprocess);
  for (const GraphInput input : impl_->inputs) {
    if (input < GraphInput::kMergeGroups || spec.model.merging) continue;
    throw BundleError("graph " + spec.graph.id + " has the input " + std::string(word_of(input)) +
                      " and the model merges no tokens; export the model again");
  }
  impl_->spec = std::move(spec);
}
PackWriter::~PackWriter() = default;
PackWriter::PackWriter(PackWriter&&) noexcept = default;
PackWriter& PackWriter::operator=(PackWriter&&) noexcept = default;

const PackSpec& PackWriter::spec() const& noexcept { return impl_->spec; }

void PackWriter::write(const PackPlan& plan, std::span<const ImageView> images, std::span<const Grid> grids,
                       int threads, Pack& out) const {
  for (const std::int32_t i : plan.images) {
    require_image(i, images);
    check_image(images[index(i)], "image " + std::to_string(i), impl_->spec.preprocess);
  }
  write_checked(plan, images, grids, threads, out);
}

void PackWriter::write_checked(const PackPlan& plan, std::span<const ImageView> images, std::span<const Grid> grids,
                               int threads, Pack& out) const {
  const PackSpec& spec = impl_->spec;
  lay_out(spec, plan, images, grids, out);
  if (out.scratch == nullptr) out.scratch = std::make_shared<PackScratch>();
  const ModelSpec& model = spec.model;
  const std::int64_t tokens = out.tokens;
  const std::int64_t count = out.images;
  const std::int64_t patch_values =
      std::int64_t{spec.preprocess.patch_px} * spec.preprocess.patch_px * kChannels * spec.preprocess.frames;
  if (out.inputs.size() > spec.graph.inputs.size()) out.inputs.resize(spec.graph.inputs.size());
  for (std::size_t i = 0; i < spec.graph.inputs.size(); ++i) {
    HostTensor& tensor = input_tensor(out, i, spec.graph.inputs[i]);
    switch (impl_->inputs[i]) {
      case GraphInput::kPatches:
        tensor.resize(std::array{tokens, patch_values});
        fill_patches(out, images, spec.preprocess, model, threads, tensor.as<std::uint8_t>());
        break;
      case GraphInput::kPositions:
        tensor.resize(std::array{tokens, std::int64_t{2}});
        fill_positions(out, model, tensor.as<std::int32_t>());
        break;
      case GraphInput::kSegmentIds:
        tensor.resize(std::array{tokens});
        fill_segment_ids(out, model, tensor.as<std::int32_t>());
        break;
      case GraphInput::kGridHw:
        tensor.resize(std::array{count, std::int64_t{2}});
        fill_grid_hw(out, tensor.as<std::int32_t>());
        break;
      case GraphInput::kAttentionIndex:
        tensor.resize(std::array{count, std::int64_t{out.longest}});
        fill_attention_index(out, model, tensor.as<std::int32_t>());
        break;
      case GraphInput::kTokenIndex:
        tensor.resize(std::array{tokens});
        fill_token_index(out, model, tensor.as<std::int32_t>());
        break;
      case GraphInput::kCuSeqlens:
        tensor.resize(std::array{count + 1});
        fill_cu_seqlens(out, model, tensor.as<std::int32_t>());
        break;
      default:
        fill_merge_input(impl_->inputs[i], out, model, tensor);
        break;
    }
  }
}

}  // namespace navit_edge

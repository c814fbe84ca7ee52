#include "navit_edge/pack_writer.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <string>
#include <utility>

#include "base/index.h"
#include "bundle/graph_check.h"
#include "navit_edge/error.h"
#include "navit_edge/plan.h"
#include "pack/fill_patches.h"
#include "pack/memory_plan.h"
#include "pack/merge_layout.h"
#include "pack/scratch.h"
#include "pack/shape_quantum.h"
#include "pixels/image_check.h"

namespace navit_edge {
namespace {

HostTensor& input_tensor(Pack& pack, std::size_t i, const TensorSpec& spec) {
  if (pack.inputs.size() <= i || pack.inputs[i].name() != spec.name || pack.inputs[i].dtype() != spec.dtype) {
    if (pack.inputs.size() <= i) pack.inputs.resize(i + 1);
    pack.inputs[i] = HostTensor(spec.name, spec.dtype);
  }
  return pack.inputs[i];
}

void require_image(std::int32_t i, std::span<const ImageView> images) {
  if (i >= 0 && index(i) < images.size()) return;
  throw InvalidInput("the plan names image " + std::to_string(i) + "; there are " + std::to_string(images.size()));
}

std::int32_t length_of(const Segment& segment, const ModelSpec& model) {
  return static_cast<std::int32_t>(segment.patches()) + model.prefix_tokens;
}

/// Puts the segments one behind another: T, N, L. Throws InvalidInput if they are more than the budget.
void place_segments(const PackSpec& spec, const Budget& budget, Pack& out) {
  const ModelSpec& model = spec.model;
  std::int64_t tokens = 0;
  out.longest = 0;
  for (Segment& segment : out.segments) {
    const std::int32_t length = length_of(segment, model);
    segment.first_token = static_cast<std::int32_t>(tokens);
    tokens += length;
    if (tokens > budget.tokens) {
      throw InvalidInput("the pack needs more than its budget of " + std::to_string(budget.tokens) +
                         " tokens at image " + std::to_string(segment.image) + "; plan it with plan_packs");
    }
    out.longest = std::max(out.longest, length);
  }
  out.used_tokens = static_cast<std::int32_t>(tokens);
  // Rows of merged patches are whole blocks, and no tensor outgrows what its slot has set aside.
  const std::int32_t block = model.block_side() * model.block_side();
  out.tokens = spec.dynamic_tokens
                   ? rounded_up(out.used_tokens, std::lcm(spec.quantum, block), budget.tokens / block * block)
                   : budget.tokens;
  const std::int32_t most_longest = with_longest(budget, spec.preprocess, model, spec.quantum).longest;
  if (spec.dynamic_tokens) out.longest = rounded_up(out.longest, spec.quantum, most_longest);
  out.images = spec.dynamic_tokens ? static_cast<std::int32_t>(out.segments.size()) : budget.images;
}

void require_patches(const KeptPatches& kept, Grid grid, std::int32_t image) {
  std::int32_t before = -1;
  bool good = !kept.empty();
  for (const std::int32_t patch : kept) {
    good = good && patch > before && patch < grid.tokens();
    before = patch;
  }
  if (good) return;
  throw InvalidInput("the patches that image " + std::to_string(image) + " keeps are not some of its grid of " +
                     std::to_string(grid.rows) + " x " + std::to_string(grid.cols) +
                     "; expected their numbers, row-major and ascending, and at least one");
}

/// Lays the images out: segments, T, N, L.
void lay_out(const PackSpec& spec, const PackPlan& plan, std::span<const ImageView> images, std::span<const Grid> grids,
             std::span<const Dropping> drops, Pack& out) {
  const PreprocessSpec& preprocess = spec.preprocess;
  if (!drops.empty() && drops.size() != images.size()) {
    throw InvalidInput("a pack was given " + std::to_string(images.size()) + " images and " +
                       std::to_string(drops.size()) + " times what is dropped; expected one for each image, or none");
  }
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
  for (const std::int32_t i : plan.images) {
    require_image(i, images);
    const Grid grid = grids[index(i)];
    if (grid.rows < 1 || grid.cols < 1 ||
        std::max(grid.rows, grid.cols) > std::numeric_limits<std::int32_t>::max() / preprocess.patch_px) {
      throw InvalidInput("image " + std::to_string(i) + " has a grid of " + std::to_string(grid.rows) + " x " +
                         std::to_string(grid.cols) + " patches; expected the result of resize_target");
    }
    Segment segment{i, 0, grid, placement_of(images[index(i)].image_size(), grid, preprocess)};
    if (!drops.empty() && drops[index(i)].kept != nullptr) {
      segment.kept = drops[index(i)].kept;
      require_patches(*segment.kept, grid, i);
    }
    out.segments.push_back(std::move(segment));
  }
  const auto count = static_cast<std::int64_t>(out.segments.size());
  if (count > budget.images) {
    throw InvalidInput("the pack holds " + std::to_string(count) + " images; its budget is " +
                       std::to_string(budget.images) + "; plan it with plan_packs");
  }
  place_segments(spec, budget, out);
}

void fill_positions(const Pack& pack, const ModelSpec& model, std::int32_t* out) {  // [T, 2]
  for (const Segment& segment : pack.segments) {
    for (std::int32_t k = 0; k < model.prefix_tokens; ++k) {
      *out++ = -1 - k;
      *out++ = -1 - k;
    }
    if (segment.kept != nullptr) {
      for (const std::int32_t patch : *segment.kept) {
        *out++ = patch / segment.grid.cols;
        *out++ = patch % segment.grid.cols;
      }
      continue;
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
                       int threads, Pack& out, std::span<const Dropping> drops) const {
  for (const std::int32_t i : plan.images) {
    require_image(i, images);
    check_image(images[index(i)], "image " + std::to_string(i), impl_->spec.preprocess);
  }
  write_checked(plan, images, grids, threads, out, drops);
}

void PackWriter::write_checked(const PackPlan& plan, std::span<const ImageView> images, std::span<const Grid> grids,
                               int threads, Pack& out, std::span<const Dropping> drops) const {
  const PackSpec& spec = impl_->spec;
  lay_out(spec, plan, images, grids, drops, out);
  if (out.scratch == nullptr) out.scratch = std::make_shared<PackScratch>();
  const ModelSpec& model = spec.model;
  if (out.inputs.size() > spec.graph.inputs.size()) out.inputs.resize(spec.graph.inputs.size());
  // The patches first: how many tokens there are is known only when blank ones have been found.
  for (std::size_t i = 0; i < spec.graph.inputs.size(); ++i) {
    HostTensor& tensor = input_tensor(out, i, spec.graph.inputs[i]);
    if (impl_->inputs[i] != GraphInput::kPatches) continue;
    fill_patches(out, images, drops, spec.preprocess, model, threads, tensor,
                 [&] { place_segments(spec, spec.budgets[index(plan.budget)], out); });
  }
  const std::int64_t tokens = out.tokens;
  const std::int64_t count = out.images;
  for (std::size_t i = 0; i < spec.graph.inputs.size(); ++i) {
    HostTensor& tensor = out.inputs[i];
    switch (impl_->inputs[i]) {
      case GraphInput::kPatches:
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

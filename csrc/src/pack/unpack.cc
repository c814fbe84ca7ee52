#include "navit_edge/unpack.h"

#include <optional>
#include <string>

#include "navit_edge/error.h"

namespace navit_edge {
namespace {

void expect_rows(const HostTensor& output, GraphOutput kind, std::int64_t rows, const std::string& letter) {
  const bool layered = kind == GraphOutput::kDeepstack;
  const std::size_t rank = layered ? 3 : 2;
  if (output.dtype() == DType::kFloat32 && output.shape().size() == rank && output.shape()[0] == rows) return;
  throw BundleError("output " + output.name() + " is " + std::string(word_of(output.dtype())) + " of rank " +
                    std::to_string(output.shape().size()) + "; expected float32 [" + letter + " = " +
                    std::to_string(rows) + (layered ? ", layers" : "") + ", width]; export the model again");
}

/// Every image before this one had whole blocks, too, so that merged rows start where a block does.
void expect_whole_blocks(const Grid& grid, std::int32_t merge) {
  if (grid.rows % merge == 0 && grid.cols % merge == 0) return;
  throw BundleError("an image has " + std::to_string(grid.rows) + " x " + std::to_string(grid.cols) +
                    " patches and the model merges " + std::to_string(merge) + " x " + std::to_string(merge) +
                    "; expected a sizing rule that gives multiples, smart-resize or longest-side with this merge; "
                    "export the model again");
}

OutputView rows_of(const std::shared_ptr<const HostTensor>& output, std::int64_t first, std::int64_t count) {
  const std::int64_t cols = output->shape().back();
  const std::int64_t layers = output->shape().size() == 3 ? output->shape()[1] : 1;
  return {output, output->as<float>() + first * layers * cols, count, cols, layers};
}

}  // namespace

void unpack(const Pack& pack, std::span<const std::shared_ptr<const HostTensor>> outputs, const ModelSpec& model,
            std::span<Result> results) {
  std::size_t pack_bytes = 0;
  for (const auto& output : outputs) pack_bytes += output->bytes();
  for (const auto& output : outputs) {
    const std::optional<GraphOutput> kind = find_word<GraphOutput>(output->name());
    if (!kind) {
      throw BundleError("the graph has an output '" + output->name() + "', which this version does not know; known: " +
                        list_of(kWords<GraphOutput>.words) + "; update navit-edge");
    }
    const bool per_token = kind != GraphOutput::kLogits && kind != GraphOutput::kEmbedding;
    const std::int32_t merge = model.merge_of(*kind);
    const std::int32_t patches = merge * merge;  // that a row stands for
    const std::string letter = !per_token ? "N" : patches == 1 ? "T" : "T/" + std::to_string(patches);
    expect_rows(*output, *kind, per_token ? pack.tokens / patches : pack.images, letter);
    for (std::size_t n = 0; n < pack.segments.size(); ++n) {
      const Segment& segment = pack.segments[n];
      if (segment.image < 0 || static_cast<std::size_t>(segment.image) >= results.size()) {
        throw InvalidInput("the pack holds image " + std::to_string(segment.image) + "; there are " +
                           std::to_string(results.size()) + " results");
      }
      Result& result = results[static_cast<std::size_t>(segment.image)];
      result.placement = segment.placement;
      result.kept = segment.kept;
      result.first_token = segment.first_token;
      result.pack_tokens = pack.tokens;
      result.pack_bytes = pack_bytes;
      if (per_token) expect_whole_blocks(segment.grid, merge);
      result.output(*kind) = per_token ? rows_of(output, (segment.first_token + model.prefix_tokens) / patches,
                                                 segment.patches() / patches)
                                       : rows_of(output, static_cast<std::int64_t>(n), 1);
    }
  }
}

}  // namespace navit_edge

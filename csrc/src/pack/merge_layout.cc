#include "pack/merge_layout.h"

#include <algorithm>
#include <vector>

#include "base/index.h"
#include "bundle/merge_shapes.h"
#include "pack/memory_plan.h"

namespace navit_edge {
namespace {

/// Some tokens of an image, one after another, and the rows that they become.
struct Part {
  std::int32_t image = 0;        // in the pack
  std::int32_t group = -1;       // -1: the prefix tokens
  std::int32_t first_token = 0;  // row before the merge
  std::int32_t tokens = 0;
  std::int32_t first_row = 0;  // row after it
  std::int32_t rows = 0;
};

/// Calls `each` for the prefix tokens of every image and then for its groups, in the order of the rows.
template <class Each>
void for_each_part(const Pack& pack, const ModelSpec& model, Each each) {
  const MergingSpec& merging = *model.merging;
  std::int32_t group = 0;
  std::int32_t row = 0;
  for (std::size_t n = 0; n < pack.segments.size(); ++n) {
    const Segment& segment = pack.segments[n];
    const auto image = static_cast<std::int32_t>(n);
    each(Part{image, -1, segment.first_token, model.prefix_tokens, row, model.prefix_tokens});
    row += model.prefix_tokens;
    // As few groups as can be, even ones, all but the last whole strides.
    const std::int64_t patches = segment.grid.tokens();
    const std::int64_t count = (patches + merging.group - 1) / merging.group;
    const std::int64_t share = count * merging.stride();
    const std::int64_t size = (patches + share - 1) / share * merging.stride();
    std::int64_t left_before = 0;
    for (std::int64_t start = 0; start < patches; start += size) {
      const std::int64_t end = std::min(start + size, patches);
      // Rounded down, so that what is rounded up is the last group's; but no group leaves more than it has.
      const std::int64_t left = std::max(merging.kept * end / merging.of, merging.kept_of(patches) - (patches - end));
      const auto rows = static_cast<std::int32_t>(left - left_before);
      each(Part{image, group++, static_cast<std::int32_t>(segment.first_token + model.prefix_tokens + start),
                static_cast<std::int32_t>(end - start), row, rows});
      row += rows;
      left_before = left;
    }
  }
}

/// Calls `each` with every image and its first and its end row after the merge.
template <class Each>
void for_each_image(const Pack& pack, const ModelSpec& model, Each each) {
  std::vector<std::int32_t> ends(pack.segments.size(), 0);
  for_each_part(pack, model, [&](const Part& part) { ends[index(part.image)] = part.first_row + part.rows; });
  std::int32_t first = 0;
  for (std::size_t n = 0; n < ends.size(); ++n) {
    each(static_cast<std::int32_t>(n), first, ends[n]);
    first = ends[n];
  }
}

}  // namespace

void fill_merge_input(GraphInput input, const Pack& pack, const ModelSpec& model, HostTensor& tensor) {
  const MergingSpec& merging = *model.merging;
  std::vector<std::int64_t> shape;
  for (const Dim& dim : merge_input_shape(input, model)) {
    shape.push_back(extent_of(dim, pack.tokens, pack.images, pack.longest));
  }
  tensor.resize(shape);
  auto* const out = tensor.as<std::int32_t>();
  std::int64_t values = 1;
  for (const std::int64_t extent : shape) values *= extent;
  const auto each_row = [&](const Part& part, auto write) {
    for (std::int32_t i = 0; i < part.rows; ++i) write(part.first_row + i, i);
  };
  switch (input) {
    case GraphInput::kMergeGroups:
      std::fill_n(out, values, -1);
      return for_each_part(pack, model, [&](const Part& part) {
        if (part.group < 0) return;
        std::int32_t* const row = out + std::int64_t{part.group} * merging.group;
        for (std::int32_t i = 0; i < part.tokens; ++i) row[i] = part.first_token + i;
      });
    case GraphInput::kMergeCounts:
      std::fill_n(out, values, 0);
      return for_each_part(pack, model, [&](const Part& part) {
        if (part.group < 0) return;
        out[2 * part.group] = part.rows;
        out[2 * part.group + 1] = part.first_row;
      });
    case GraphInput::kMergeRows:
      std::fill_n(out, values, pack.tokens);
      return for_each_part(pack, model, [&](const Part& part) {
        const auto slots = static_cast<std::int32_t>(merging.slots());
        const std::int32_t from = part.group < 0 ? part.first_token : pack.tokens + part.group * slots;
        each_row(part, [&](std::int32_t row, std::int32_t i) { out[row] = from + i; });
      });
    case GraphInput::kMergeSlots:
      std::fill_n(out, values, -1);
      return for_each_part(pack, model, [&](const Part& part) {
        for (std::int32_t i = 0; i < part.tokens; ++i) {
          out[part.first_token + i] = part.group < 0 ? -1 - part.first_row - i : part.group * merging.group + i;
        }
      });
    case GraphInput::kMergeSegmentIds:
      std::fill_n(out, values, pack.images);
      return for_each_image(pack, model, [&](std::int32_t image, std::int32_t first, std::int32_t end) {
        std::fill(out + first, out + end, image);
      });
    case GraphInput::kMergeAttentionIndex:
      std::fill_n(out, values, -1);
      return for_each_image(pack, model, [&](std::int32_t image, std::int32_t first, std::int32_t end) {
        for (std::int32_t row = first; row < end; ++row) out[image * shape[1] + row - first] = row;
      });
    case GraphInput::kMergeTokenIndex: {
      std::fill_n(out, values, 0);
      const std::int64_t longest = extent_of(merge_shapes(model).longest, pack.tokens, pack.images, pack.longest);
      return for_each_image(pack, model, [&](std::int32_t image, std::int32_t first, std::int32_t end) {
        for (std::int32_t row = first; row < end; ++row) {
          out[row] = static_cast<std::int32_t>(image * longest) + row - first;
        }
      });
    }
    default:
      return;
  }
}

}  // namespace navit_edge

#include "bundle/merge_shapes.h"

namespace navit_edge {

MergeShapes merge_shapes(const ModelSpec& model) noexcept {
  const MergingSpec& merging = *model.merging;
  // An image of p prefix tokens and n patches keeps p + ceil(k n), less than k (p + n) + (1 - k) p + 1.
  const std::int64_t dropped = std::int64_t{model.prefix_tokens} * (merging.of - merging.kept);
  const std::int64_t more = 1 + (dropped + merging.of - 1) / merging.of;
  return {{'T', 0, merging.of, merging.kept, more},
          {'T', 0, merging.group, 1, 1},
          {'L', more, merging.of, merging.kept, 0}};
}

std::string merge_word(const Dim& dim) {
  std::string word(1, dim.symbol);
  word.append("*").append(std::to_string(dim.times));
  word.append("/").append(std::to_string(dim.parts));
  word.append("+").append(std::to_string(dim.images > 0 ? dim.images : dim.extent));
  if (dim.images > 0) word += 'N';
  return word;
}

std::vector<Dim> merge_input_shape(GraphInput input, const ModelSpec& model) {
  const MergeShapes shapes = merge_shapes(model);
  switch (input) {
    case GraphInput::kMergeGroups:
      return {shapes.groups, {'\0', model.merging->group}};
    case GraphInput::kMergeCounts:
      return {shapes.groups, {'\0', 2}};
    case GraphInput::kMergeRows:
    case GraphInput::kMergeSegmentIds:
    case GraphInput::kMergeTokenIndex:
      return {shapes.rows};
    case GraphInput::kMergeSlots:
      return {{'T', 0}};
    case GraphInput::kMergeAttentionIndex:
      return {{'N', 0}, shapes.longest};
    default:
      return {};
  }
}

}  // namespace navit_edge

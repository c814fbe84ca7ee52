// The packs that both makers of a merge's inputs are held to: tests/data/merging/layouts.json. Python's side of it:
// tests/python/test_token_merging.py.
#include "pack/merge_layout.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "support/check.h"

using namespace navit_edge;
using nlohmann::json;

namespace {

constexpr std::pair<const char*, GraphInput> kInputs[] = {
    {"merge_groups", GraphInput::kMergeGroups},
    {"merge_counts", GraphInput::kMergeCounts},
    {"merge_rows", GraphInput::kMergeRows},
    {"merge_slots", GraphInput::kMergeSlots},
    {"merge_segment_ids", GraphInput::kMergeSegmentIds},
    {"merge_attention_index", GraphInput::kMergeAttentionIndex},
    {"merge_token_index", GraphInput::kMergeTokenIndex},
};

ModelSpec model_of(const json& one) {
  ModelSpec model;
  model.prefix_tokens = one["prefix_tokens"];
  const json& merging = one["merging"];
  model.merging = MergingSpec{merging["layer"], merging["kept"], merging["of"], merging["group"]};
  return model;
}

/// Images one after another, as a PackWriter lays them out.
Pack pack_of(const json& one) {
  Pack pack;
  pack.tokens = one["tokens"];
  pack.images = one["images"];
  pack.longest = one["longest"];
  for (const json& grid : one["grids"]) {
    Segment segment;
    segment.image = static_cast<std::int32_t>(pack.segments.size());
    segment.first_token = pack.used_tokens;
    segment.grid = {grid[0], grid[1]};
    pack.used_tokens += one["prefix_tokens"].get<std::int32_t>() + static_cast<std::int32_t>(segment.grid.tokens());
    pack.segments.push_back(std::move(segment));
  }
  return pack;
}

/// Rows as lists, as the file writes them.
json nested(const HostTensor& tensor) {
  const auto* const values = tensor.as<std::int32_t>();
  const std::int64_t rows = tensor.shape()[0];
  const std::int64_t columns = tensor.shape().size() > 1 ? tensor.shape()[1] : 1;
  json found = json::array();
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::vector<std::int32_t> one(values + row * columns, values + (row + 1) * columns);
    if (tensor.shape().size() > 1) {
      found.push_back(one);
    } else {
      found.push_back(one[0]);
    }
  }
  return found;
}

}  // namespace

TEST_CASE("inputs of a merge are those that Python makes") {
  const json corpus = json::parse(std::ifstream(NAVIT_EDGE_MERGE_LAYOUTS));
  CHECK(corpus["cases"].size() >= 5);
  for (const json& one : corpus["cases"]) {
    const ModelSpec model = model_of(one);
    const Pack pack = pack_of(one);
    CHECK(one["expect"].size() == std::size(kInputs));
    for (const auto& [name, input] : kInputs) {
      HostTensor tensor(name, DType::kInt32);
      tensor.resize(std::vector<std::int64_t>{4096});
      std::fill_n(tensor.as<std::int32_t>(), 4096, 77);  // what lay there before must not show
      fill_merge_input(input, pack, model, tensor);
      const json found = nested(tensor);
      if (found != one["expect"][name]) {
        std::printf("%s, %s: %s\n", one["name"].dump().c_str(), name, found.dump().c_str());
      }
      CHECK(found == one["expect"][name]);
    }
  }
}

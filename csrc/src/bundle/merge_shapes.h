// How graphs that merge tokens write the extents of their inputs (docs/tokens.md).
#pragma once

#include <string>
#include <vector>

#include "navit_edge/manifest.h"

namespace navit_edge {

/// What a pack of T tokens and N images needs at most. The model merges tokens.
struct MergeShapes {
  Dim rows;     // M, after the merge
  Dim groups;   // G
  Dim longest;  // A, rows of the longest image
};
MergeShapes merge_shapes(const ModelSpec& model) noexcept;

/// As the manifest writes it: "T*1/2+1N", "L*1/2+1".
std::string merge_word(const Dim& dim);

/// The shape of an input; empty of one that every graph may have.
std::vector<Dim> merge_input_shape(GraphInput input, const ModelSpec& model);

}  // namespace navit_edge

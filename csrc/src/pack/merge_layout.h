// The inputs of graphs that merge tokens: which tokens of a pack may merge, and where what is left goes.
#pragma once

#include <cstdint>

#include "navit_edge/pack.h"
#include "navit_edge/tensor.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// Fills one of the inputs from kMergeGroups on for a pack that is laid out. The model merges tokens.
/// `python/navit_edge/bundle/merging.py` says what each holds.
void fill_merge_input(GraphInput input, const Pack& pack, const ModelSpec& model, HostTensor& tensor);

}  // namespace navit_edge

// Whether a graph is one that this version can feed and read: asked when a session opens, not when the first pack runs.
#pragma once

#include "navit_edge/manifest.h"

namespace navit_edge {

/// The inputs of the graph contract.
enum class GraphInput { kPatches, kPositions, kSegmentIds, kGridHw, kAttentionIndex, kTokenIndex, kCuSeqlens };

/// Which input `spec` is. Throws BundleError where its name is unknown or its type or shape is not the contract's.
GraphInput graph_input(const GraphSpec& graph, const TensorSpec& spec, const PreprocessSpec& preprocess);

/// Throws BundleError where an input or an output of `graph` is not the contract's.
void check_graph(const GraphSpec& graph, const PreprocessSpec& preprocess);

}  // namespace navit_edge

// Whether a graph is one that this version can feed and read: asked when a session opens, not when the first pack runs.
#pragma once

#include <vector>

#include "navit_edge/manifest.h"

namespace navit_edge {

/// Which input each of `graph.inputs` is. Throws BundleError if a name is unknown, or a type or shape is not the
/// contract's.
std::vector<GraphInput> graph_inputs(const GraphSpec& graph, const PreprocessSpec& preprocess);

/// Throws BundleError if an input or an output of `graph` is not the contract's.
void check_graph(const GraphSpec& graph, const PreprocessSpec& preprocess);

}  // namespace navit_edge

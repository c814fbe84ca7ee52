// An entry of `graphs` of a manifest.
#pragma once

#include "bundle/json_reader.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// `manifest` has its model, labels and files already.
GraphSpec read_graph(const JsonReader& json, const Manifest& manifest);

}  // namespace navit_edge

// The parts `graphs` and `engines` of a manifest.
#pragma once

#include "bundle/json_reader.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// `manifest` has its model, labels and files already.
void read_graphs(const JsonReader& json, Manifest& manifest);
/// And its graphs.
void read_engines(const JsonReader& json, Manifest& manifest);

}  // namespace navit_edge

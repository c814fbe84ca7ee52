// An entry of `engines` of a manifest.
#pragma once

#include "bundle/json_reader.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// `manifest` has its graphs and files already.
EngineSpec read_engine(const JsonReader& json, const Manifest& manifest);

/// Fails if the id of a group of `manifest.engines`, which were read from `list`, is an engine's, too.
void check_group_ids(const JsonReader& list, const Manifest& manifest);

}  // namespace navit_edge

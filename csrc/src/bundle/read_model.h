// The parts `model` and `preprocess` of a manifest.
#pragma once

#include "bundle/json_reader.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

ModelSpec read_model(const JsonReader& json);
PreprocessSpec read_preprocess(const JsonReader& json);

}  // namespace navit_edge

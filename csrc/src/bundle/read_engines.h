// The parts `graphs` and `engines` of a manifest.
#pragma once

#include <span>

#include "bundle/json_reader.h"
#include "navit_edge/manifest.h"

namespace navit_edge {

/// A file's name that `manifest.files` has, with its hash.
std::string read_listed_file(const JsonReader& json, const Manifest& manifest);
/// The inputs or the outputs of a graph: one or more, each name once. `more_dims`: what its shapes may hold beside what
/// those of every graph may.
std::vector<TensorSpec> read_tensors(const JsonReader& json, std::span<const Dim> more_dims = {});
/// Engines of the text tower, which have no budgets.
std::vector<EngineSpec> read_text_engines(const JsonReader& json, const Manifest& manifest);
/// `manifest` has its model, labels and files already.
void read_graphs(const JsonReader& json, Manifest& manifest);
/// And its graphs.
void read_engines(const JsonReader& json, Manifest& manifest);

}  // namespace navit_edge

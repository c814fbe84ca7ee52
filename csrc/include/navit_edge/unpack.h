// Unpacking: raw outputs of a pack become one result per image, as views that share the pack's memory.
#pragma once

#include <memory>
#include <span>

#include "navit_edge/pack.h"
#include "navit_edge/result.h"  // IWYU pragma: export

namespace navit_edge {

/// Fills the outputs of the results of one pack. `outputs` are named as in GraphSpec::outputs.
NAVIT_EDGE_API void unpack(const Pack& pack, std::span<const std::shared_ptr<const HostTensor>> outputs,
                           const ModelSpec& model, std::span<Result> results);

}  // namespace navit_edge

// The options that an engine of this backend takes; docs/memory.md describes them.
#pragma once

#include <cstdint>
#include <string>

#include "navit_edge/backend_abi.h"

namespace navit_edge::openvino {

struct Options {
  std::string device = "CPU";  // an OpenVINO device; "GPU.1" if it is one of several
  bool own_cores = false;      // the engine is to keep to cores of its own, as many as it has threads
  /// CPU_RUNTIME_CACHE_CAPACITY: for how many shapes of an operation, of each kind of operation, the streams of an
  /// engine keep what they have prepared, all streams together; the least recently used goes first. OpenVINO's own
  /// default, 5000 a stream, is a leak in all but name if shapes seldom repeat (docs/memory.md). Ours is one for
  /// each half MiB of the engine, within 32 and 96: what is kept for shapes stays small beside the model.
  std::int32_t cache_capacity = 32;

  /// The share of one of `streams`, but enough for the layers of one pack to share what they have prepared.
  [[nodiscard]] std::int32_t capacity_of_a_stream(std::int32_t streams) const noexcept;
};

/// Throws InvalidInput for a name that is not known or a value that an option does not have.
Options parse_options(const navit_edge_engine_desc& desc);

}  // namespace navit_edge::openvino

// The options that an engine of this backend takes; docs/memory.md describes them.
#pragma once

#include <cstdint>
#include <string>

#include "navit_edge/backend_abi.h"

namespace navit_edge::openvino {

struct Options {
  std::string device = "CPU";  // an OpenVINO device
  /// CPU_RUNTIME_CACHE_CAPACITY: for how many operations at their shapes each stream keeps what it has prepared, the
  /// least recently used going first. OpenVINO's own default, 5000, is a leak in all but name where shapes seldom
  /// repeat.
  std::int32_t cache_capacity = 128;
};

/// Throws InvalidInput for a name that is not known or a value that an option does not have.
Options parse_options(const navit_edge_engine_desc& desc);

}  // namespace navit_edge::openvino

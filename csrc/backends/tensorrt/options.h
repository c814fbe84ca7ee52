// The options that an engine of this backend takes; docs/tensorrt-backend.md describes them.
#pragma once

#include <string>
#include <vector>

#include "navit_edge/backend_abi.h"

namespace navit_edge::tensorrt {

enum class GraphMode { kAuto, kOn, kOff };
enum class HostMemory { kAuto, kMapped, kCopied };

struct Options {
  int device = 0;                              // CUDA ordinal
  GraphMode graphs = GraphMode::kAuto;         // cuda_graph
  HostMemory host_memory = HostMemory::kAuto;  // host_memory: auto takes mapped on integrated GPUs
  std::string target;                          // "sm87", "sm86+sm89", "ampere+"; empty: not checked
  bool version_compatible = false;             // the plan may be opened by a later library
  bool host_code = false;                      // engine_host_code: run the lean runtime that a plan brings along
  std::string lean_runtime;                    // libnvinfer_lean.so of the version that built a version-compatible plan
  std::vector<std::string> library_dirs;       // tensorrt_dir: where NVIDIA's libraries lie, before the usual places
  std::string library_dirs_from;               // who named them, in words
  std::vector<std::string> wheel_dirs;         // tensorrt_wheels: after the usual places; none if library_dirs are
};

/// Throws InvalidInput for a name that is not known or a value that an option does not have.
Options parse_options(const navit_edge_engine_desc& desc);

}  // namespace navit_edge::tensorrt

// How many cores this process can keep busy: what a session takes if nobody names a number of threads.
#pragma once

#include <filesystem>
#include <optional>

#include "navit_edge/types.h"

namespace navit_edge {

struct NAVIT_EDGE_API CpuLimits {
  int affinity = 1;                   // cores that this process may be scheduled on
  std::optional<double> quota_cores;  // CPU time in cores, as 1.5: the least of its control group and all above it

  /// At least 1. A quota is rounded down: threads that share what is left of a period are stopped in its middle, each
  /// with a part of the work that the others wait for (docs/runtime.md).
  [[nodiscard]] int cores() const noexcept;
};

/// Of this process, now. `root`: where /proc and /sys are looked for (control groups of version 1 and 2, cgroups(7));
/// the affinity is always the process's own. What cannot be read limits nothing.
NAVIT_EDGE_API CpuLimits cpu_limits(const std::filesystem::path& root = "/") noexcept;

}  // namespace navit_edge

// How many cores this process can keep busy: what a session takes if nobody names a number of threads.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "navit_edge/types.h"

namespace navit_edge {

struct NAVIT_EDGE_API CpuLimits {
  int affinity = 1;                   // processors that this process may be scheduled on: its mask and its cpuset
  std::optional<double> quota_cores;  // CPU time in cores, as 1.5: the least of its control group and all above it
  int physical = 0;  // cores that those processors belong to; hyper-threads of one core count once. 0: not known
  int machine = 0;   // processors of the machine that are online. 0: not known
  std::vector<int> nodes{};  // NUMA nodes that those processors lie in, ascending. Empty: not known

  /// At least 1. Hyper-threads share the units that multiply, so an engine takes a core once. A quota is rounded down:
  /// threads that share what is left of a period are stopped in its middle, each with a part of the work that the
  /// others wait for (docs/runtime.md).
  [[nodiscard]] int cores() const noexcept;
  /// The quota is less than the cores are.
  [[nodiscard]] bool bound_by_quota() const noexcept;
  /// What `cores` follows from: "2 threads: cgroup quota 2.0 of 64 cores". `threads`: a number that somebody named,
  /// or 0.
  [[nodiscard]] std::string words(int threads = 0) const;
};

/// Of this process, now. `root`: where /proc and /sys are looked for (control groups of version 1 and 2, cgroups(7);
/// topology of the processors, NUMA nodes). The affinity is the calling thread's, as the kernel says; of another root
/// what its proc/self/status says, if it has one. What cannot be read limits nothing.
NAVIT_EDGE_API CpuLimits cpu_limits(const std::filesystem::path& root = "/") noexcept;

}  // namespace navit_edge

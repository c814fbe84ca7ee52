#include "base/machine_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace navit_edge {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();

/// A file of one number; "max" and what cannot be read are no limit.
std::size_t number_in(const fs::path& path) {
  std::ifstream file(path);
  std::size_t number = 0;
  return file >> number ? number : kUnlimited;
}

/// "MemTotal:  16384 kB" and the swap.
std::size_t physical_bytes(const fs::path& root) {
  std::ifstream file(root / "proc/meminfo");
  std::size_t total = 0;
  std::string name;
  std::size_t kib = 0;
  for (std::string unit; file >> name >> kib; std::getline(file, unit)) {
    if (name == "MemTotal:" || name == "SwapTotal:") total += kib * 1024;
  }
  return total > 0 ? total : kUnlimited;
}

/// The lowest limit of the process's group and of those above it, of version 2 or 1.
std::size_t group_bytes(const fs::path& root) {
  std::ifstream file(root / "proc/self/cgroup");
  std::size_t least = kUnlimited;
  for (std::string line; std::getline(file, line);) {  // "0::/a/b", "5:memory:/a/b"
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string controllers = line.substr(first + 1, second - first - 1);
    const bool unified = controllers.empty();
    controllers.insert(0, 1, ',').push_back(',');
    if (!unified && controllers.find(",memory,") == std::string::npos) continue;
    const fs::path mount = root / (unified ? "sys/fs/cgroup" : "sys/fs/cgroup/memory");
    const char* const limit = unified ? "memory.max" : "memory.limit_in_bytes";
    fs::path group = fs::path(line.substr(second + 1)).relative_path();
    for (;; group = group.parent_path()) {
      least = std::min(least, number_in(mount / group / limit));
      if (group.empty()) break;
    }
  }
  return least;
}

}  // namespace

std::size_t machine_memory_bytes(const fs::path& root) { return std::min(physical_bytes(root), group_bytes(root)); }

}  // namespace navit_edge

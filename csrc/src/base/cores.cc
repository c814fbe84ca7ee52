#include "navit_edge/cores.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/core_list.h"
#include "base/topology.h"

namespace navit_edge {
namespace {

namespace fs = std::filesystem;

using Texts = std::vector<std::string>;

Texts words_of(const std::string& line, char separator) {
  Texts words;
  std::istringstream in(line);
  for (std::string word; std::getline(in, word, separator);) {
    if (!word.empty()) words.push_back(word);
  }
  return words;
}

/// Above 0, or none: "max", -1, nonsense, no file.
std::optional<double> number(const std::string& word) {
  long long value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (error != std::errc{} || end != word.data() + word.size() || value <= 0) return std::nullopt;
  return static_cast<double>(value);
}

Texts first_line(const fs::path& file) {
  std::string line;
  std::ifstream in(file);
  std::getline(in, line);
  return words_of(line, ' ');
}

std::optional<double> ratio(const Texts& quota_and_period) {
  if (quota_and_period.size() != 2) return std::nullopt;
  const auto quota = number(quota_and_period[0]);
  const auto period = number(quota_and_period[1]);
  if (!quota || !period) return std::nullopt;
  return *quota / *period;
}

/// The quota that a folder sets, of either version.
std::optional<double> quota_of(const fs::path& folder) {
  if (const auto of_v2 = ratio(first_line(folder / "cpu.max"))) return of_v2;
  Texts both = first_line(folder / "cpu.cfs_quota_us");
  for (const std::string& word : first_line(folder / "cpu.cfs_period_us")) both.push_back(word);
  return ratio(both);
}

/// Where a hierarchy may be mounted, and the group that is its top there: not "/" if a part of it is mounted alone.
struct Mount {
  fs::path point;
  std::string top = "/";
};

/// One hierarchy that may bound CPU time, and this process's group in it.
struct Hierarchy {
  std::vector<Mount> mounts;
  std::string group;
};

std::vector<Hierarchy> hierarchies(const fs::path& root) {
  const fs::path mounts = root / "sys/fs/cgroup";
  Hierarchy v2{{{mounts}, {mounts / "unified"}}, "/"};
  Hierarchy v1{{{mounts / "cpu"}, {mounts / "cpu,cpuacct"}, {mounts / "cpuacct,cpu"}}, "/"};
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/a/b", "3:cpu,cpuacct:/a/b"
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const Texts names = words_of(controllers, ',');
    if (line.starts_with("0::")) v2.group = line.substr(second + 1);
    if (std::find(names.begin(), names.end(), "cpu") == names.end()) continue;
    v1.group = line.substr(second + 1);
    v1.mounts.push_back({mounts / controllers});
  }
  std::ifstream table(root / "proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {  // "... ROOT POINT OPTIONS - TYPE SOURCE cpu,cpuacct"
    const Texts words = words_of(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 5 || words.end() - dash < 2) continue;
    const Mount mount{root / fs::path(words[4]).relative_path(), words[3]};
    if (dash[1] == "cgroup2") v2.mounts.push_back(mount);
    if (dash[1] == "cgroup") {
      const Texts options = words_of(words.back(), ',');
      if (std::find(options.begin(), options.end(), "cpu") != options.end()) v1.mounts.push_back(mount);
    }
  }
  return {v2, v1};
}

/// The least quota of `group`, a path below `mount`, and of those above it. What is not there sets nothing.
std::optional<double> least_quota(const fs::path& mount, std::string_view group) {
  Texts parts = words_of(std::string(group), '/');
  std::erase(parts, "..");  // a group outside of the namespace
  std::optional<double> least;
  fs::path folder = mount;
  for (std::size_t depth = 0;; ++depth) {
    if (const auto quota = quota_of(folder)) least = std::min(least.value_or(*quota), *quota);
    if (depth == parts.size()) return least;
    folder /= parts[depth];
  }
}

/// In a container the group may be named as the host names it while its own, or one above it, is mounted at the top:
/// both names are looked for.
std::optional<double> least_quota(const Hierarchy& one) {
  std::optional<double> least;
  const auto add = [&](std::optional<double> quota) {
    if (quota) least = std::min(least.value_or(*quota), *quota);
  };
  for (const Mount& mount : one.mounts) {
    add(least_quota(mount.point, one.group));
    const std::string below = mount.top + "/";
    if (one.group.starts_with(below)) add(least_quota(mount.point, one.group.substr(below.size())));
  }
  return least;
}

/// The affinity mask, which the kernel keeps within the cpuset. Empty if the system does not say.
std::vector<int> processors_of(const fs::path& root) {
  if (root != "/") {
    constexpr std::string_view kName = "Cpus_allowed_list:";
    std::ifstream status(root / "proc/self/status");
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with(kName)) continue;
      const std::vector<int> allowed = cores_of(line.substr(line.find_first_not_of(" \t", kName.size())));
      const std::vector<int> online = online_processors(root);  // a mask may name processors that are not there
      if (online.empty()) return allowed;
      std::vector<int> both;
      std::set_intersection(allowed.begin(), allowed.end(), online.begin(), online.end(), std::back_inserter(both));
      return both;
    }
  }
  return cores_of_this_thread();
}

std::string counted(int count, const char* noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

/// "2.0", "1.5", "0.25".
std::string with_a_decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f", value);
  std::string words = text;
  if (words.ends_with('0')) words.pop_back();
  return words;
}

/// Of a quota, what is no thread worth: a share that was rounded on its way through an orchestrator.
constexpr double kNoCore = 0.05;

int whole_cores(const CpuLimits& limits) noexcept {
  return std::max(1, limits.physical > 0 ? std::min(limits.physical, limits.affinity) : limits.affinity);
}

}  // namespace

bool CpuLimits::bound_by_quota() const noexcept { return quota_cores && *quota_cores < whole_cores(*this); }

int CpuLimits::cores() const noexcept {
  if (!bound_by_quota()) return whole_cores(*this);
  return std::max(1, static_cast<int>(std::ceil(*quota_cores - kNoCore)));  // at most whole_cores: it is less
}

std::string CpuLimits::words(int threads) const {
  if (threads > 0) return counted(threads, "thread") + ": as asked for";
  const int most = whole_cores(*this);
  std::string why = "all cores";
  if (bound_by_quota()) {
    why = "cgroup quota " + with_a_decimal(*quota_cores) + " of " + counted(most, "core");
  } else if (most < affinity) {
    why = counted(most, "core") + " with " + counted(affinity, "hyper-thread") + ", which count once a core";
  }
  if (affinity < machine) {
    const std::string mask =
        "affinity or cpuset of " + std::to_string(affinity) + " of " + counted(machine, "processor");
    why = why == "all cores" ? mask : why + "; " + mask;
  }
  return counted(cores(), "thread") + ": " + why;
}

CpuLimits cpu_limits(const fs::path& root) noexcept {
  CpuLimits limits;
  limits.affinity = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  try {
    if (const std::vector<int> processors = processors_of(root); !processors.empty()) {
      limits.affinity = static_cast<int>(processors.size());
      limits.physical = static_cast<int>(first_of_each_core(processors, root).size());
      limits.machine = static_cast<int>(online_processors(root).size());
      limits.nodes = nodes_of(processors, root);
    }
    for (const Hierarchy& one : hierarchies(root)) {
      if (const auto quota = least_quota(one)) {
        limits.quota_cores = std::min(limits.quota_cores.value_or(*quota), *quota);
      }
    }
  } catch (const std::exception&) {  // no memory, or a path that no file can have
  }
  return limits;
}

}  // namespace navit_edge

#include "navit_edge/cores.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace navit_edge {
namespace {

namespace fs = std::filesystem;

using Words = std::vector<std::string>;

Words words_of(const std::string& line, char separator) {
  Words words;
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

Words first_line(const fs::path& file) {
  std::string line;
  std::ifstream in(file);
  std::getline(in, line);
  return words_of(line, ' ');
}

std::optional<double> ratio(const Words& quota_and_period) {
  if (quota_and_period.size() != 2) return std::nullopt;
  const auto quota = number(quota_and_period[0]);
  const auto period = number(quota_and_period[1]);
  if (!quota || !period) return std::nullopt;
  return *quota / *period;
}

/// The quota that a folder sets, of either version.
std::optional<double> quota_of(const fs::path& folder) {
  if (const auto of_v2 = ratio(first_line(folder / "cpu.max"))) return of_v2;
  Words both = first_line(folder / "cpu.cfs_quota_us");
  for (const std::string& word : first_line(folder / "cpu.cfs_period_us")) both.push_back(word);
  return ratio(both);
}

/// One hierarchy that may bound CPU time: where it may be mounted, and this process's group in it.
struct Hierarchy {
  std::vector<fs::path> mounts;
  std::string group;
};

std::vector<Hierarchy> hierarchies(const fs::path& root) {
  const fs::path mounts = root / "sys/fs/cgroup";
  Hierarchy v2{{mounts, mounts / "unified"}, "/"};
  Hierarchy v1{{mounts / "cpu", mounts / "cpu,cpuacct", mounts / "cpuacct,cpu"}, "/"};
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/a/b", "3:cpu,cpuacct:/a/b"
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const Words names = words_of(controllers, ',');
    if (line.starts_with("0::")) v2.group = line.substr(second + 1);
    if (std::find(names.begin(), names.end(), "cpu") == names.end()) continue;
    v1.group = line.substr(second + 1);
    v1.mounts.push_back(mounts / controllers);
  }
  std::ifstream table(root / "proc/self/mountinfo");
  for (std::string line; std::getline(table, line);) {  // "... ROOT POINT OPTIONS - TYPE SOURCE cpu,cpuacct"
    const Words words = words_of(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 5 || words.end() - dash < 2) continue;
    const fs::path point = root / fs::path(words[4]).relative_path();
    if (dash[1] == "cgroup2") v2.mounts.push_back(point);
    if (dash[1] == "cgroup") {
      const Words options = words_of(words.back(), ',');
      if (std::find(options.begin(), options.end(), "cpu") != options.end()) v1.mounts.push_back(point);
    }
  }
  return {v2, v1};
}

/// The least quota of the group and of those above it. In a container the group may be named as the host names it while
/// its own is mounted at the top; the top is among those that are looked at, and what is not there sets nothing.
std::optional<double> least_quota(const Hierarchy& one) {
  Words parts = words_of(one.group, '/');
  std::erase(parts, "..");  // a group outside of the namespace
  std::optional<double> least;
  for (const fs::path& mount : one.mounts) {
    fs::path folder = mount;
    for (std::size_t depth = 0;; ++depth) {
      if (const auto quota = quota_of(folder)) least = std::min(least.value_or(*quota), *quota);
      if (depth == parts.size()) break;
      folder /= parts[depth];
    }
  }
  return least;
}

int affinity() noexcept {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

int CpuLimits::cores() const noexcept {
  if (!quota_cores || *quota_cores >= affinity) return std::max(1, affinity);
  return std::max(1, static_cast<int>(*quota_cores));
}

CpuLimits cpu_limits(const fs::path& root) noexcept {
  CpuLimits limits;
  limits.affinity = affinity();
  try {
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

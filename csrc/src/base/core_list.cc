#include "base/core_list.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <system_error>

#include "navit_edge/error.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace navit_edge {
namespace {

constexpr int kMostCores = 1024;  // of a cpu_set_t

/// A whole number from 0 on, taken from the front of `text`; -1 if there is none.
int take_number(std::string_view& text) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number < 0 || text.front() == '-') return -1;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

/// 0, or why not.
int bind_this_thread(const std::vector<int>& cores) noexcept {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(static_cast<std::size_t>(core), &set);
  return ::sched_setaffinity(0, sizeof(set), &set) == 0 ? 0 : errno;
#else
  return cores.empty() ? 0 : ENOTSUP;
#endif
}

}  // namespace

std::vector<int> cores_of(std::string_view list) {
  std::vector<int> cores;
  while (true) {
    if (list.empty()) return {};
    const int first = take_number(list);
    int last = first;
    if (take(list, '-')) last = list.empty() ? -1 : take_number(list);
    if (first < 0 || last < first || last >= kMostCores) return {};
    for (int core = first; core <= last; ++core) cores.push_back(core);
    if (list.empty()) break;
    if (!take(list, ',')) return {};
  }
  std::sort(cores.begin(), cores.end());
  cores.erase(std::unique(cores.begin(), cores.end()), cores.end());
  return cores;
}

std::string list_of(const std::vector<int>& cores) {
  std::string list;
  for (std::size_t i = 0; i < cores.size();) {
    std::size_t last = i;
    while (last + 1 < cores.size() && cores[last + 1] == cores[last] + 1) ++last;
    if (!list.empty()) list += ',';
    list += std::to_string(cores[i]);
    if (last > i) list.append("-").append(std::to_string(cores[last]));
    i = last + 1;
  }
  return list;
}

std::vector<int> cores_of_node(int node, const std::filesystem::path& root) {
  std::string list;
  std::ifstream in(root / "sys/devices/system/node" / ("node" + std::to_string(node)) / "cpulist");
  std::getline(in, list);
  return cores_of(list);
}

std::vector<int> cores_of_this_thread() {
  std::vector<int> cores;
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cores;
  for (int core = 0; core < kMostCores; ++core) {
    if (CPU_ISSET(static_cast<std::size_t>(core), &set)) cores.push_back(core);
  }
#endif
  return cores;
}

CoreBinding::CoreBinding(const std::vector<int>& cores) {
  if (cores.empty()) return;
  before_ = cores_of_this_thread();
  if (const int error = bind_this_thread(cores); error != 0) {
    throw InvalidInput("a thread cannot be bound to the cores " + list_of(cores) + ": " +
                       std::generic_category().message(error) + "; name cores that this process may run on (" +
                       list_of(before_) + ")");
  }
}

CoreBinding::~CoreBinding() {
  if (!before_.empty()) (void)bind_this_thread(before_);
}

}  // namespace navit_edge

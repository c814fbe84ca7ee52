#include "engine/device_list.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string_view>

#include "base/core_list.h"
#include "navit_edge/cores.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

constexpr std::size_t kMostDevices = 64;
constexpr const char* kExpected =
    "expected the number of a GPU (\"0\", \"gpu:1\"), a list of cores (\"cpu:0-3\", \"cpu:0,2\") or a NUMA node "
    "(\"numa:0\")";

[[noreturn]] void refuse(const std::string& word, const std::string& why) {
  throw InvalidInput("devices has \"" + word + "\"" + why + "; " + kExpected);
}

/// What follows `prefix` in `word`; null if it does not begin with it.
const char* behind(const std::string& word, std::string_view prefix) {
  return word.starts_with(prefix) ? word.c_str() + prefix.size() : nullptr;
}

/// A number from 0 on; -1 if it is none.
int number(std::string_view text) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && value >= 0 ? value : -1;
}

DeviceSpec device_of(const std::string& word) {
  DeviceSpec device;
  device.name = word;
  if (const char* const list = behind(word, "cpu:")) {
    device.cores = cores_of(list);
    if (device.cores.empty()) refuse(word, ", which is no list of cores");
  } else if (const char* const node = behind(word, "numa:")) {
    if (number(node) < 0) refuse(word, "");
    device.cores = cores_of_node(number(node));
    if (device.cores.empty()) refuse(word, ", and this machine has no such node");
  } else {
    const char* const gpu = behind(word, "gpu:");
    const int index = number(gpu != nullptr ? gpu : word);
    if (index < 0) refuse(word, "");
    device.name = "gpu:" + std::to_string(index);
    device.backend["device_index"] = std::to_string(index);
    return device;
  }
  const std::vector<int> usable = cores_of_this_thread();
  if (!std::includes(usable.begin(), usable.end(), device.cores.begin(), device.cores.end())) {
    refuse(word, ", and this process may run on the cores " + list_of(usable) + " only");
  }
  device.backend["cores"] = list_of(device.cores);
  return device;
}

bool overlap(const DeviceSpec& a, const DeviceSpec& b) {
  std::vector<int> both;
  std::set_intersection(a.cores.begin(), a.cores.end(), b.cores.begin(), b.cores.end(), std::back_inserter(both));
  return a.name == b.name || !both.empty();
}

}  // namespace

SessionOptions DeviceSpec::applied_to(SessionOptions options, std::size_t devices) const {
  for (const auto& [key, value] : backend) options.backend[key] = value;
  if (!cores.empty()) {
    options.threads = static_cast<int>(cores.size());
  } else if (devices > 1) {
    const int threads = options.threads > 0 ? options.threads : cpu_limits().cores();
    options.threads = std::max(1, threads / static_cast<int>(devices));
  }
  return options;
}

std::vector<DeviceSpec> devices_of(const SessionOptions& options) {
  if (options.devices.empty()) return {DeviceSpec{}};
  if (options.devices.size() > kMostDevices) {
    throw InvalidInput("devices names " + std::to_string(options.devices.size()) + "; expected at most " +
                       std::to_string(kMostDevices));
  }
  std::vector<DeviceSpec> devices;
  for (const std::string& word : options.devices) {
    DeviceSpec device = device_of(word);
    for (const DeviceSpec& other : devices) {
      if (overlap(device, other)) refuse(word, ", which is another of them in part or whole");
      if (device.cores.empty() != other.cores.empty()) refuse(word, " beside " + other.name + ", of another kind");
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

}  // namespace navit_edge

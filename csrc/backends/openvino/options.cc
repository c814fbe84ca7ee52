#include "options.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <string_view>

#include "navit_edge/error.h"

namespace navit_edge::openvino {
namespace {

constexpr std::string_view kCapacity = "CPU_RUNTIME_CACHE_CAPACITY";
constexpr std::int32_t kMostCapacity = 100'000;

/// What others read: the core rounds shapes and names the target, Python names the wheels of another backend, and the
/// precision comes with the engine.
constexpr std::array<std::string_view, 4> kOfOthers{"shape_quantum", "target", "tensorrt_wheels",
                                                    "INFERENCE_PRECISION_HINT"};

std::int32_t parse_capacity(const std::string& value) {
  std::int32_t capacity = -1;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), capacity);
  if (error != std::errc() || end != value.data() + value.size() || capacity < 0 || capacity > kMostCapacity) {
    throw InvalidInput("option " + std::string(kCapacity) + " is '" + value + "'; expected a whole number from 0 to " +
                       std::to_string(kMostCapacity) + "; 0 keeps nothing");
  }
  return capacity;
}

std::int32_t default_capacity(std::size_t engine_bytes) {
  constexpr std::size_t kBytesOfOne = 512 * 1024;
  return static_cast<std::int32_t>(std::clamp<std::size_t>(engine_bytes / kBytesOfOne, 32, 96));
}

constexpr std::int32_t kLeastOfAStream = 16;  // a pack of one shape has fewer of each kind

}  // namespace

std::int32_t Options::capacity_of_a_stream(std::int32_t streams) const noexcept {
  return std::max(cache_capacity / streams, std::min(cache_capacity, kLeastOfAStream));
}

Options parse_options(const navit_edge_engine_desc& desc) {
  Options options;
  std::string index;
  if (desc.content != nullptr) options.cache_capacity = default_capacity(desc.content->size);  // none in `probe`
  for (std::size_t i = 0; i < desc.option_count; ++i) {
    const std::string_view key = desc.options[i].key;
    const std::string value = desc.options[i].value;
    if (key == "device") {
      if (value.empty()) throw InvalidInput("option device is empty; expected an OpenVINO device, as CPU");
      options.device = value;
    } else if (key == "device_index") {  // of a session's `devices`
      index = value;
    } else if (key == "cores") {  // the same
      options.own_cores = true;
    } else if (key == kCapacity) {
      options.cache_capacity = parse_capacity(value);
    } else if (std::find(kOfOthers.begin(), kOfOthers.end(), key) == kOfOthers.end()) {
      throw InvalidInput("the OpenVINO backend has no option '" + std::string(key) + "'; known: device, " +
                         std::string(kCapacity) + ", shape_quantum");
    }
  }
  if (!index.empty()) options.device += "." + index;
  return options;
}

}  // namespace navit_edge::openvino

#include "options.h"

#include <charconv>
#include <cstdlib>
#include <sstream>

#include "navit_edge/error.h"

namespace navit_edge::tensorrt {
namespace {

[[noreturn]] void refuse(const std::string& key, const std::string& value, const char* expected) {
  throw InvalidInput(key + " is '" + value + "'; expected " + expected);
}

bool parse_bool(const std::string& key, const std::string& value) {
  if (value == "true" || value == "1") return true;
  if (value == "false" || value == "0") return false;
  refuse(key, value, "true or false");
}

/// Absolute directories, with colons between them.
std::vector<std::string> parse_paths(const std::string& key, const std::string& value) {
  std::vector<std::string> paths;
  std::istringstream parts(value);
  for (std::string path; std::getline(parts, path, ':');) {
    if (path.empty()) continue;
    if (path.front() != '/') refuse(key, value, "an absolute path, or several with colons between them");
    paths.push_back(path);
  }
  return paths;
}

}  // namespace

Options parse_options(const navit_edge_engine_desc& desc) {
  Options options;
  if (const char* list = std::getenv("NAVIT_EDGE_TENSORRT_DIR"); list != nullptr) {
    options.library_dirs = parse_paths("NAVIT_EDGE_TENSORRT_DIR", list);
    options.library_dirs_from = "NAVIT_EDGE_TENSORRT_DIR";
  }
  for (std::size_t i = 0; i < desc.option_count; ++i) {
    const std::string key = desc.options[i].key;
    const std::string value = desc.options[i].value;
    if (key == "cuda_device" || key == "device_index") {  // the second: of a session's `devices`; it comes later
      const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), options.device);
      if (error != std::errc() || end != value.data() + value.size() || options.device < 0) {
        refuse(key, value, "the number of a CUDA device, as 0");
      }
    } else if (key == "cuda_graph") {
      if (value != "auto" && value != "on" && value != "off") refuse(key, value, "auto, on or off");
      options.graphs = value == "on" ? GraphMode::kOn : value == "off" ? GraphMode::kOff : GraphMode::kAuto;
    } else if (key == "host_memory") {
      if (value != "auto" && value != "mapped" && value != "copied") refuse(key, value, "auto, mapped or copied");
      options.host_memory = value == "mapped"   ? HostMemory::kMapped
                            : value == "copied" ? HostMemory::kCopied
                                                : HostMemory::kAuto;
    } else if (key == "target") {
      options.target = value;
    } else if (key == "version_compatible") {
      options.version_compatible = parse_bool(key, value);
    } else if (key == "engine_host_code") {
      options.host_code = parse_bool(key, value);
    } else if (key == "tensorrt_dir") {
      options.library_dirs = parse_paths(key, value);
      options.library_dirs_from = "option tensorrt_dir";
    } else if (key == "tensorrt_wheels") {
      options.wheel_dirs = parse_paths(key, value);
    } else if (key == "lean_runtime") {
      if (value.empty() || value.front() != '/') refuse(key, value, "the absolute path of a libnvinfer_lean.so");
      options.lean_runtime = value;
    } else {
      throw InvalidInput("the TensorRT backend has no option '" + key +
                         "'; known: cuda_device, cuda_graph, engine_host_code, host_memory, lean_runtime, "
                         "tensorrt_dir, version_compatible");
    }
  }
  // Who names a directory chooses: a library from elsewhere must not take its place.
  if (!options.library_dirs.empty()) options.wheel_dirs.clear();
  return options;
}

}  // namespace navit_edge::tensorrt

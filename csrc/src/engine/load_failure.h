// Why a backend did not load, as one sentence with its remedy. What was tried comes behind it only if NAVIT_EDGE_DEBUG
// is set, as `navit-edge --debug` and `navit-edge doctor` do.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "navit_edge/engine.h"

namespace navit_edge {

/// A place that was looked at. `reason` is the loader's own words.
struct Attempt {
  std::string place;
  std::string reason;
};
using Attempts = std::vector<Attempt>;

/// The `reason` of a place where nothing lies.
inline constexpr const char* kNoSuchFile = "no such file";

/// "libnavit_edge_tensorrt_rtx.so"
std::string library_file_name(const std::string& backend);

/// The main libraries of the vendor, as prefixes of their file names.
std::vector<std::string> vendor_prefixes(const std::string& backend);

/// "2026.4.1" of "libopenvino.so.2641"; empty if the name does not tell.
std::string openvino_release(const std::string& file_name);

/// The message of a backend that did not load: what is missing, what to do, and what of another release is here.
std::string load_failure(const std::string& backend, const BackendSearch& search, const Attempts& attempts);

}  // namespace navit_edge

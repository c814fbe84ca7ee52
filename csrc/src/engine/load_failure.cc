#include "engine/load_failure.h"

#include <algorithm>
#include <cstdlib>
#include <system_error>

namespace navit_edge {
namespace {

namespace fs = std::filesystem;

constexpr const char* kNotFound = ": cannot open shared object file: No such file or directory";

/// The directories of a variable with colons in it.
std::vector<fs::path> directories_of(const char* variable) {
  std::vector<fs::path> found;
  const char* list = std::getenv(variable);
  const std::string text = list == nullptr ? "" : list;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(':', begin), text.size());
    if (end > begin) found.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return found;
}

/// An OpenVINO beside the one that is needed: where the caller, the loader, or OpenVINO's own archive has it.
fs::path other_openvino(const BackendSearch& search, const std::string& needed) {
  std::vector<fs::path> places = search.vendor_dirs;
  const std::vector<fs::path> listed = directories_of("LD_LIBRARY_PATH");
  places.insert(places.end(), listed.begin(), listed.end());
  for (const char* usual : {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/local/lib",
                            "/opt/intel/openvino/runtime/lib/intel64", "/opt/intel/openvino/runtime/lib/aarch64"}) {
    places.emplace_back(usual);
  }
  for (const fs::path& place : places) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(place, error)) {
      const std::string name = entry.path().filename().string();
      if (name != needed && !openvino_release(name).empty()) return entry.path();
    }
  }
  return {};
}

/// The file that the loader missed, of "libopenvino.so.2641: cannot open shared object file: …"; empty for other words.
std::string missing_library(const std::string& reason) {
  const std::size_t at = reason.find(kNotFound);
  return at == std::string::npos ? "" : reason.substr(0, at);
}

std::string what_is_missing(const std::string& library, const BackendSearch& search) {
  const std::string needed = openvino_release(library);
  if (needed.empty()) return "the library " + library + " is not found";
  const fs::path other = other_openvino(search, library);
  if (other.empty()) return "OpenVINO " + needed + " is not found (" + library + ")";
  return "it needs OpenVINO " + needed + " (" + library + "); found OpenVINO " +
         openvino_release(other.filename().string()) + " (" + other.string() + ")";
}

std::string remedy_for(const std::string& backend, const BackendSearch& search) {
  if (const auto said = search.install.find(backend); said != search.install.end()) return said->second;
  if (backend == "openvino") {
    return "install that release where the loader finds it (OpenVINO's setupvars.sh, LD_LIBRARY_PATH), or name its "
           "directory in vendor_dirs";
  }
  if (backend == "tensorrt") {
    return "build navit-edge with TensorRT's headers: those of JetPack and apt are found, others with "
           "-DTensorRT_ROOT=DIR";
  }
  if (backend == "tensorrt-rtx") {
    return "build navit-edge with the headers of NVIDIA's TensorRT-RTX SDK: -DTensorRT_RTX_ROOT=DIR";
  }
  return "check the backend's name, or name the directory of its plug-in in NAVIT_EDGE_BACKEND_DIR";
}

/// What is missing, and its remedy. Of the first place where the plug-in lies; else that it lies nowhere.
std::string cause(const std::string& backend, const BackendSearch& search, const Attempts& attempts) {
  const std::string file_name = library_file_name(backend);
  const auto lies_there = [&](const Attempt& one) {
    return fs::path(one.place).filename() == file_name && one.reason != kNoSuchFile;
  };
  const auto found = std::find_if(attempts.begin(), attempts.end(), lies_there);
  if (found == attempts.end()) return "its plug-in " + file_name + " is not here; " + remedy_for(backend, search);
  const std::string library = missing_library(found->reason);
  if (library.empty()) {
    const bool has_remedy = found->reason.find("rebuild it") != std::string::npos;
    return found->place + ": " + found->reason + (has_remedy ? "" : "; install navit-edge again");
  }
  for (const Attempt& one : attempts) {  // there, and damaged or for another machine
    if (fs::path(one.place).filename() == library) {
      return one.place + ": " + one.reason + "; " + remedy_for(backend, search);
    }
  }
  return what_is_missing(library, search) + "; " + remedy_for(backend, search);
}

}  // namespace

std::string library_file_name(const std::string& backend) {
  std::string stem = backend;
  std::replace(stem.begin(), stem.end(), '-', '_');
  return "libnavit_edge_" + stem + ".so";
}

std::vector<std::string> vendor_prefixes(const std::string& backend) {
  if (backend == "openvino") return {"libopenvino.so"};
  if (backend == "tensorrt") return {"libcudart.so", "libnvinfer.so", "libnvinfer_lean.so"};
  if (backend == "tensorrt-rtx") return {"libtensorrt_rtx.so"};
  return {};
}

std::string openvino_release(const std::string& file_name) {
  const std::string prefix = "libopenvino.so.";
  if (!file_name.starts_with(prefix)) return {};
  const std::string digits = file_name.substr(prefix.size());
  if (digits.size() != 4 || digits.find_first_not_of("0123456789") != std::string::npos) return {};
  return "20" + digits.substr(0, 2) + "." + digits[2] + "." + digits[3];
}

std::string load_failure(const std::string& backend, const BackendSearch& search, const Attempts& attempts) {
  std::string message = "backend '" + backend + "' did not load: " + cause(backend, search, attempts);
  if (const char* debug = std::getenv("NAVIT_EDGE_DEBUG"); debug == nullptr || *debug == '\0') return message;
  message += "\ntried:";
  for (const Attempt& one : attempts) message += "\n  " + one.place + ": " + one.reason;
  return message;
}

}  // namespace navit_edge

#include "library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include "navit_edge/error.h"

namespace navit_edge::tensorrt {
namespace {

/// What a major version counts in a version number: 10000 since TensorRT 10, 1000 before.
constexpr std::int32_t version_unit(std::int32_t version) {
  return kOldestVersion < 100000 || version >= 100000 ? 10000 : 1000;
}

/// A library that stays open for good: CUDA does not survive being unloaded.
class OpenLibrary {
 public:
  OpenLibrary() = default;
  explicit OpenLibrary(const std::string& file) : handle_(::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)), file_(file) {
    if (handle_ == nullptr) {
      const char* text = ::dlerror();
      error_ = text != nullptr ? text : file + ": unknown error of the dynamic loader";
    }
  }

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  [[nodiscard]] const std::string& error() const noexcept { return error_; }

  /// Sets `function`; throws BackendError if the library lacks it.
  template <class Function>
  void find(const char* name, Function*& function) const {
    void* symbol = ::dlsym(handle_, name);
    if (symbol == nullptr) {
      throw BackendError(
          file_ + " has no function " + name + "; expected a library of NVIDIA's that is not older than " +
          "CUDA 12 and " NAVIT_EDGE_TENSORRT_PRODUCT " " + version_words(kOldestVersion) + "; upgrade it");
    }
    static_assert(sizeof(function) == sizeof(symbol));
    std::memcpy(&function, &symbol, sizeof(symbol));
  }

  [[nodiscard]] std::string path_of(const void* address) const {
    Dl_info info{};
    return ::dladdr(address, &info) != 0 && info.dli_fname != nullptr ? info.dli_fname : file_;
  }

 private:
  void* handle_ = nullptr;
  std::string file_;
  std::string error_;
};

std::string cuda_words(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/// Where a library may lie. An empty directory stands for the dynamic loader's own places.
struct Place {
  std::string directory;
  std::string words;  // how it came to be looked at
};

/// In the order they are looked at. Never the working directory.
std::vector<Place> places(const Options& options, const std::string& usual) {
  std::vector<Place> all;
  for (const std::string& directory : options.library_dirs) all.push_back({directory, options.library_dirs_from});
  all.push_back({"", "the dynamic loader's own places"});
  if (!usual.empty()) all.push_back({usual, "its usual place"});
  for (const std::string& directory : options.wheel_dirs) all.push_back({directory, "an installed wheel"});
  return all;
}

/// The first of `names` that opens, in the first of `where`; wheels count as one place, so that a name that comes first
/// is looked for in all of them. `found` tells where, and what was passed over.
OpenLibrary open_first(const std::vector<Place>& where, const std::vector<std::string>& names,
                       const std::string& failure, std::string& found) {
  std::string tried;
  for (std::size_t begin = 0, end = 0; begin < where.size(); begin = end) {
    while (end < where.size() && where[end].words == where[begin].words) ++end;
    for (const std::string& name : names) {
      for (std::size_t i = begin; i < end; ++i) {
        const Place& place = where[i];
        OpenLibrary opened(place.directory.empty() ? name : place.directory + "/" + name);
        if (opened) {
          found = name + " of " + place.words + (place.directory.empty() ? "" : " (" + place.directory + ")");
          return opened;
        }
        tried += "\n  " + opened.error() + " [" + place.words + "]";
      }
    }
  }
  const char* debug = std::getenv("NAVIT_EDGE_DEBUG");  // as of the core
  throw BackendError(debug == nullptr || *debug == '\0' ? failure : failure + "\ntried:" + tried);
}

/// `tensorrt` says what became of the other library, so that one message names all that is missing.
void open_driver(Library& library, const std::string& tensorrt) {
  const OpenLibrary driver("libcuda.so.1");
  if (!driver) {
    throw BackendError("no NVIDIA driver on this machine (" + driver.error() +
                       "); expected libcuda.so.1; install the driver, in a container give it the GPU "
                       "(docker run --gpus all), or use an engine for the CPU. " +
                       tensorrt);
  }
  Api& api = library.api;
  driver.find("cuInit", api.cuInit);
  driver.find("cuDriverGetVersion", api.cuDriverGetVersion);
  driver.find("cuDeviceGetName", api.cuDeviceGetName);
  if (const int code = api.cuInit(0); code != 0) {
    if (code == 100) {  // CUDA_ERROR_NO_DEVICE
      throw BackendError(
          "the NVIDIA driver finds no GPU; expected at least one; check nvidia-smi and CUDA_VISIBLE_DEVICES");
    }
    throw BackendError("the NVIDIA driver does not start: cuInit gave error " + std::to_string(code) +
                       "; expected 0; check nvidia-smi, and reboot after an upgrade of the driver");
  }
  if (api.cuDriverGetVersion(&library.driver_version) != 0) {
    throw BackendError("the NVIDIA driver does not say its version; install it again");
  }
}

void open_cuda_runtime(Library& library, const Options& options) {
  // The newest that the driver serves: its own major version, then older ones; a newer one gives the error that says
  // so.
  std::vector<std::string> names;
  const int own = library.driver_version / 1000;
  for (int major = own; major >= 12; --major) names.push_back("libcudart.so." + std::to_string(major));
  for (int major = std::max(own + 1, 12); major <= 13; ++major)
    names.push_back("libcudart.so." + std::to_string(major));
  const OpenLibrary runtime =
      open_first(places(options, "/usr/local/cuda/lib64"), names,
                 "no CUDA runtime library for a driver of CUDA " + cuda_words(library.driver_version) +
                     "; install the CUDA toolkit, or nvidia-cuda-runtime-cu12 with pip, and name its directory in "
                     "LD_LIBRARY_PATH",
                 library.runtime_found);
  Api& api = library.api;
#define NAVIT_EDGE_FIND(name) runtime.find(#name, api.name);
  NAVIT_EDGE_CUDA_SYMBOLS(NAVIT_EDGE_FIND)
#undef NAVIT_EDGE_FIND
  const cudaError_t status = api.cudaGetDeviceCount(&library.device_count);
  if (status == cudaErrorInsufficientDriver) {
    throw BackendError(
        "the NVIDIA driver is too old: it serves CUDA " + cuda_words(library.driver_version) +
        ", less than the CUDA runtime library asks for; upgrade the driver or install an older CUDA runtime");
  }
  if (status == cudaErrorNoDevice || (status == cudaSuccess && library.device_count == 0)) {
    throw BackendError("CUDA finds no GPU; expected at least one; check nvidia-smi and CUDA_VISIBLE_DEVICES");
  }
  if (status != cudaSuccess) {
    throw BackendError(std::string("CUDA does not start: ") + api.cudaGetErrorName(status) + " (" +
                       api.cudaGetErrorString(status) + "); check nvidia-smi");
  }
}

/// Opens the library and asks its version, which is safe without a driver; everything else is not.
void open_tensorrt(Library& library, const Options& options) {
  const OpenLibrary opened =
      open_first(places(options, ""), {kLibraryNames.begin(), kLibraryNames.end()},
                 "no " NAVIT_EDGE_TENSORRT_PRODUCT " library (" + std::string(kLibraryNames.front()) +
                     "); install it: " + std::string(kInstall) +
                     "; if it is elsewhere, name its directory in NAVIT_EDGE_TENSORRT_DIR",
                 library.found);
  Api& api = library.api;
  opened.find("getInferLibVersion", api.getInferLibVersion);
  opened.find("createInferRuntime_INTERNAL", api.createInferRuntime_INTERNAL);
  library.path = opened.path_of(reinterpret_cast<const void*>(api.getInferLibVersion));
  library.version = api.getInferLibVersion();
  const int major = library.version / version_unit(library.version);
  if (major != kHeadersMajor || library.version < kOldestVersion) {
    throw BackendError(library.path + " is " NAVIT_EDGE_TENSORRT_PRODUCT " " + version_words(library.version) +
                       "; expected major version " + std::to_string(kHeadersMajor) + ", " +
                       version_words(kOldestVersion) + " or later; install that, or build navit-edge against the " +
                       "headers of this library (TensorRT_ROOT)");
  }
}

}  // namespace

std::string version_words(std::int32_t version) {
  const std::int32_t unit = version_unit(version);
  return std::to_string(version / unit) + "." + std::to_string(version % unit / 100) + "." +
         std::to_string(version % 100);
}

std::string Library::version_text() const { return version_words(version); }
std::string Library::driver_text() const { return "CUDA " + cuda_words(driver_version); }

const Library& library(const Options& options) {
  // Leaked on purpose: engines may be closed by static destructors.
  static auto* mutex = new std::mutex;
  static Library* loaded = nullptr;
  const std::lock_guard lock(*mutex);
  if (loaded == nullptr) {
    Library opened;
    std::string missing;
    try {
      open_tensorrt(opened, options);
    } catch (const BackendError& e) {
      missing = e.what();
    }
    open_driver(opened, missing.empty() ? "(" NAVIT_EDGE_TENSORRT_PRODUCT " " + opened.version_text() +
                                              " is there: " + opened.path + ")"
                                        : "Besides: " + missing);
    if (!missing.empty()) throw BackendError(missing);
    open_cuda_runtime(opened, options);
    loaded = new Library(opened);
  }
  return *loaded;
}

}  // namespace navit_edge::tensorrt

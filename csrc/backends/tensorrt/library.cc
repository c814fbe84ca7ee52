#include "library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <optional>
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

  /// Sets `function`; throws BackendError where the library lacks it.
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

/// The first of `names` that opens: in the directories that were given, then in the loader's own places, then in
/// `last`.
OpenLibrary open_first(const Options& options, const std::vector<std::string>& names, const std::string& last,
                       const std::string& failure) {
  std::vector<std::string> files;
  for (const std::string& directory : options.library_dirs) {
    for (const std::string& name : names) files.push_back(directory + "/" + name);
  }
  files.insert(files.end(), names.begin(), names.end());
  for (const std::string& name : names) {
    if (!last.empty()) files.push_back(last + "/" + name);
  }
  std::string tried;
  for (const std::string& file : files) {
    OpenLibrary opened(file);
    if (opened) return opened;
    tried += "\n  " + opened.error();
  }
  throw BackendError(failure + "; tried:" + tried);
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
      open_first(options, names, "/usr/local/cuda/lib64",
                 "no CUDA runtime library for a driver of CUDA " + cuda_words(library.driver_version) +
                     "; install it: pip install nvidia-cuda-runtime-cu12, or the CUDA toolkit, and name its directory "
                     "in LD_LIBRARY_PATH");
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
      open_first(options, {kLibraryNames.begin(), kLibraryNames.end()}, "",
                 "no " NAVIT_EDGE_TENSORRT_PRODUCT " library; install it: " + std::string(kInstall) +
                     "; where it lies elsewhere, name its directory in NAVIT_EDGE_TENSORRT_DIR");
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

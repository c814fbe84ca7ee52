#include "engine.h"

#include <array>
#include <cstdio>
#include <cstring>

#include "navit_edge/error.h"

namespace navit_edge::tensorrt {
namespace {

/// major, minor, patch of "10.15.1.29"; what is missing or no number is 0.
std::array<int, 3> numbers(const char* version) {
  std::array<int, 3> found{};
  static_cast<void>(std::sscanf(version, "%d.%d.%d", &found[0], &found[1], &found[2]));
  return found;
}

/// A plan opens with the version that built it; a version-compatible one also with later versions.
void require_version(const Library& library, const Options& options, const char* built_by) {
  const std::array<int, 3> built = numbers(built_by);
  const std::string version = library.version_text();
  const std::array<int, 3> here = numbers(version.c_str());
  if (built[0] == 0 || built == here) return;
  if (options.version_compatible && built <= here) return;
  const bool lean = library.path.find("_lean") != std::string::npos;
  throw BackendError(std::string("the engine was built by " NAVIT_EDGE_TENSORRT_PRODUCT " ") + built_by + "; this is " +
                     version + (lean ? " (lean runtime)" : "") +
                     ", which cannot open it; rebuild it here, or with --version-compatible " +
                     "for later versions: navit-edge build-engine BUNDLE --backend " NAVIT_EDGE_TENSORRT_BACKEND);
}

}  // namespace

Device fit_device(const Library& library, const Options& options, std::span<const navit_edge_option> builder) {
  for (const navit_edge_option& item : builder) {
    if (std::strcmp(item.key, NAVIT_EDGE_TENSORRT_BACKEND) == 0) require_version(library, options, item.value);
  }
  Device device = use_device(library, options.device);
  require_target(device, options.target);
  return device;
}

Engine::Engine(const navit_edge_engine_desc& desc)
    : options_(parse_options(desc)), library_(library(options_)), device_(fit_device(library_, options_, {})) {
  const bool mapped =
      options_.host_memory == HostMemory::kMapped || (options_.host_memory == HostMemory::kAuto && device_.integrated);
  plan_ = std::make_unique<Plan>(library_, options_, desc.path);
  make_slots(desc.slots, mapped);
}

Engine::~Engine() {
  static_cast<void>(library_.api.cudaSetDevice(options_.device));  // slots are freed on their own GPU
}

void Engine::make_slots(std::int32_t count, bool mapped) {
  try {
    for (std::int32_t slot = 0; slot < count; ++slot) {
      slots_.push_back(std::make_unique<Slot>(library_, *plan_, options_.graphs, mapped));
    }
  } catch (const CudaError& e) {
    if (e.status() != cudaErrorMemoryAllocation) throw;
    const std::size_t made = slots_.size();
    slots_.clear();
    const std::string found = free_memory(library_.api);
    std::string needs;
    for (const Profile& profile : plan_->profiles()) {
      if (profile.index >= 6) {
        needs += ", ...";
        break;
      }
      needs += (profile.index == 0 ? "" : ", ") + plan_->words(profile) + ": " +
               mebibytes(static_cast<std::size_t>(profile.arena_bytes));
    }
    throw BackendError("out of memory at slot " + std::to_string(made + 1) + " of " + std::to_string(count) + ": " +
                       e.what() + "; a slot's arena takes the largest of its budgets (" + needs +
                       "), free without the slots: " + found +
                       "; close other programs, use fewer slots, or build the engine with smaller --token-budgets");
  }
}

void Engine::mark_broken(const std::string& cause) {
  const std::lock_guard lock(cause_mutex_);
  if (cause_.empty()) cause_ = cause;
  broken_.store(true);
}

void Engine::run(std::int32_t slot, std::span<const navit_edge_tensor> inputs,
                 std::span<const navit_edge_tensor> outputs) {
  constexpr const char* kRemedy = "; open the session again, and where that fails too, restart the process";
  if (broken_.load()) {
    const std::lock_guard lock(cause_mutex_);
    throw BackendError("this engine is broken since an earlier run: " + cause_ + kRemedy);
  }
  try {
    check(library_.api, library_.api.cudaSetDevice(options_.device), "taking the GPU");
    slots_.at(static_cast<std::size_t>(slot))->run(inputs, outputs);
  } catch (const CudaError& e) {
    mark_broken(e.what());
    throw BackendError(std::string("CUDA failed, so this engine is broken: ") + e.what() + kRemedy);
  }
}

}  // namespace navit_edge::tensorrt

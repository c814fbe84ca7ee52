#include "engine.h"

#include <array>
#include <cstdio>
#include <cstring>

#include "navit_edge/backend_sdk.h"
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
    : options_(parse_options(desc)),
      library_(library(options_)),
      device_(fit_device(library_, options_, {})),
      mapped_(options_.host_memory == HostMemory::kMapped ||
              (options_.host_memory == HostMemory::kAuto && device_.integrated)) {
  plan_ = std::make_unique<Plan>(library_, options_, *desc.content);
  make_slots(desc.slots);
}

Engine::~Engine() {
  static_cast<void>(library_.api.cudaSetDevice(options_.device));  // slots are freed on their own GPU
}

void Engine::make_slots(std::int32_t count) {
  try {
    for (std::int32_t slot = 0; slot < count; ++slot) {
      slots_.push_back(std::make_unique<Slot>(library_, *plan_, options_.graphs, mapped_));
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
  constexpr const char* kRemedy = "; open the session again, and if that fails too, restart the process";
  if (broken_.load()) {
    const std::lock_guard lock(cause_mutex_);
    throw BackendError("this engine is broken since an earlier run: " + cause_ + kRemedy);
  }
  try {
    check(library_.api, library_.api.cudaSetDevice(options_.device), "taking the GPU");
    slot_at(slot).run(inputs, outputs);
  } catch (const CudaError& e) {
    mark_broken(e.what());
    throw BackendError(std::string("CUDA failed, so this engine is broken: ") + e.what() + kRemedy);
  }
}

Slot& Engine::slot_at(std::int32_t slot) const {
  if (slot < 0 || static_cast<std::size_t>(slot) >= slots_.size()) {
    throw InvalidInput("the engine has no slot " + std::to_string(slot) + "; it has " + std::to_string(slots_.size()) +
                       ", numbered from 0");
  }
  return *slots_[static_cast<std::size_t>(slot)];
}

void* Engine::input_memory(std::int32_t slot, std::string_view name, std::size_t bytes) const {
  return slot_at(slot).input_memory(name, bytes);
}

/// Of all slots, the state that says most: a slot that fell back goes before one that has its graph.
Slot::GraphState Engine::graph_state(std::size_t profile) const {
  Slot::GraphState found = slots_.front()->graph_state(profile);
  for (const auto& slot : slots_) {
    Slot::GraphState other = slot->graph_state(profile);
    if (other.stage > found.stage) found = std::move(other);
  }
  return found;
}

std::string Engine::report() const {
  using Stage = Slot::GraphStage;
  std::vector<std::string> budgets;
  std::vector<std::string> warnings;
  for (std::size_t p = 0; p < plan_->profiles().size(); ++p) {
    const Profile& profile = plan_->profiles()[p];
    const Slot::GraphState state = graph_state(p);
    std::string graph = state.stage == Stage::kOff        ? "off"
                        : state.stage == Stage::kPending  ? "not yet"
                        : state.stage == Stage::kCaptured ? "captured"
                        : state.stage == Stage::kFailed   ? "failed"
                                                          : "fallback";
    if (!state.reason.empty()) graph += ": " + state.reason;
    if (state.stage == Stage::kFallback) {
      warnings.push_back(sdk::JsonObject::quoted("packs of " + plan_->words(profile) +
                                                 " run without a CUDA graph, so slower: " + state.reason));
    }
    budgets.push_back(sdk::JsonObject()
                          .text("shapes", plan_->words(profile))
                          .number("arena_bytes", profile.arena_bytes)
                          .text("cuda_graph", graph)
                          .done());
  }
  const Slot& slot = *slots_.front();
  sdk::JsonObject report;
  report.text("library", NAVIT_EDGE_TENSORRT_PRODUCT)
      .text("library_version", library_.version_text())
      .text("library_path", library_.path)
      .text("library_found", library_.found)
      .text("cuda_driver", library_.driver_text())
      .text("cuda_runtime_found", library_.runtime_found)
      .text("device", device_.name + " (sm" + std::to_string(device_.capability) + ")")
      .number("slots", static_cast<std::int64_t>(slots_.size()))
      .text("host_memory", mapped_ ? "mapped" : "pinned")
      .number("arena_bytes_per_slot", slot.arena_bytes())
      .number("tensor_bytes_per_slot", static_cast<std::int64_t>(slot.tensor_bytes()))
      .json("budgets", sdk::json_list(budgets))
      .json("warnings", sdk::json_list(warnings));
  if (broken_.load()) {
    const std::lock_guard lock(cause_mutex_);
    report.text("broken", cause_);
  }
  return report.done();
}

}  // namespace navit_edge::tensorrt

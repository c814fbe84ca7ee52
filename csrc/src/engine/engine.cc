#include "navit_edge/engine.h"

#include <algorithm>
#include <utility>

#include "engine/backend_loader.h"
#include "navit_edge/cores.h"
#include "navit_edge/error.h"
#include "pack/memory_plan.h"

namespace navit_edge {
namespace {

navit_edge_tensor c_tensor(const HostTensor& tensor) {
  return {tensor.name().c_str(), static_cast<std::int32_t>(tensor.dtype()),
          static_cast<std::int32_t>(tensor.shape().size()), tensor.shape().data(),
          // The table has one tensor type for both directions; backends do not write to inputs.
          const_cast<std::byte*>(tensor.data())};
}

/// Bytes as the C table takes them; goes with them, unless the backend takes them.
class LentBytes {
 public:
  explicit LentBytes(FileBytes bytes) {
    auto owned = std::make_unique<FileBytes>(std::move(bytes));
    const std::span<const std::byte> content = std::as_const(*owned).bytes();
    lent_ = {content.data(), content.size(), owned.release(), [](navit_edge_bytes* lent) {
               delete static_cast<FileBytes*>(lent->owner);
               lent->release = nullptr;
             }};
  }
  ~LentBytes() {
    if (lent_.release != nullptr) lent_.release(&lent_);
  }
  LentBytes(const LentBytes&) = delete;
  LentBytes& operator=(const LentBytes&) = delete;
  [[nodiscard]] navit_edge_bytes* get() noexcept { return &lent_; }

 private:
  navit_edge_bytes lent_{};
};

}  // namespace

struct Engine::Impl {
  Impl(const navit_edge_backend_table* t, const std::string& engine_id) : table(t), name("engine " + engine_id) {}
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (handle != nullptr) table->close(handle);
  }

  void require_slot(int slot) const {
    if (slot >= 0 && slot < slots) return;
    throw InvalidInput("slot " + std::to_string(slot) + " of " + name + " does not exist; it has " +
                       std::to_string(slots));
  }

  const navit_edge_backend_table* table;
  const std::string name;  // "engine openvino-cpu-bf16": opens messages
  int slots = 1;
  navit_edge_engine* handle = nullptr;
  std::vector<std::vector<navit_edge_tensor>> tensors;  // [slots] scratch: a slot belongs to one thread at a time
};

Engine::Engine(const Backend& backend, const Manifest& manifest, const EngineSpec& spec, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(backend.impl_->table, spec.id)) {
  if (options.slots < 1 || options.threads < 0) {
    throw InvalidInput("an engine was asked for " + std::to_string(options.slots) + " slots and " +
                       std::to_string(options.threads) + " threads; expected at least 1 slot and 0 or more threads");
  }
  LentBytes content(manifest.verified_bytes(spec.file));
  const std::string file = (manifest.bundle / spec.file).string();
  std::map<std::string, std::string> merged = options.backend;
  merged.insert(spec.options.begin(), spec.options.end());  // does not replace: the caller's win
  const auto pairs = c_options(merged);
  navit_edge_engine_desc desc{};
  desc.content = content.get();
  desc.file = file.c_str();
  desc.precision = word_of(spec.float_precision.value_or(spec.precision)).data();  // a literal: it ends with a zero
  desc.slots = options.slots;
  // Affinity, hyper-threads and sockets a vendor's library sees for itself, and knows better which cores are worth it;
  // a quota it does not.
  const CpuLimits limits = cpu_limits();
  desc.threads = options.threads == 0 && limits.bound_by_quota() ? limits.cores() : options.threads;
  desc.options = pairs.data();
  desc.option_count = pairs.size();
  navit_edge_error error{};
  impl_->slots = options.slots;
  impl_->tensors.resize(static_cast<std::size_t>(options.slots));
  const GraphSpec& graph = manifest.graph(spec.graph);
  for (auto& tensors : impl_->tensors) tensors.reserve(graph.inputs.size() + graph.outputs.size());
  check_backend_call(impl_->table->open(&desc, &impl_->handle, &error), error, "engine " + spec.id + " did not open");
  if (impl_->handle == nullptr) {
    throw BackendError("engine " + spec.id + " did not open: the backend " + backend.name() + " returned no engine");
  }
}

Engine::~Engine() = default;
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;

void Engine::run(int slot, std::span<const HostTensor> inputs, std::span<HostTensor> outputs) {
  impl_->require_slot(slot);
  auto& tensors = impl_->tensors[static_cast<std::size_t>(slot)];
  tensors.clear();
  for (const HostTensor& tensor : inputs) tensors.push_back(c_tensor(tensor));
  for (const HostTensor& tensor : outputs) tensors.push_back(c_tensor(tensor));
  navit_edge_error error{};
  const std::int32_t code = impl_->table->run(impl_->handle, slot, tensors.data(), inputs.size(),
                                              tensors.data() + inputs.size(), outputs.size(), &error);
  check_backend_call(code, error, impl_->name);
}

std::span<std::byte> Engine::input_memory(int slot, const std::string& name, std::size_t bytes) & {
  impl_->require_slot(slot);
  void* data = nullptr;
  navit_edge_error error{};
  check_backend_call(impl_->table->memory(impl_->handle, slot, name.c_str(), bytes, &data, &error), error, impl_->name);
  if (data == nullptr) return {};
  return {static_cast<std::byte*>(data), bytes};
}

std::string Engine::report() const {
  std::string text(1023, '\0');
  while (true) {
    std::size_t needed = 0;
    navit_edge_error error{};
    const std::int32_t code =
        impl_->table->query(impl_->handle, "report", text.data(), text.size() + 1, &needed, &error);
    check_backend_call(code, error, impl_->name);
    const bool whole = needed <= text.size() + 1;
    text.resize(std::max<std::size_t>(needed, 1) - 1);
    if (whole) return text;  // else again with room for all of it: beside runs it may have grown meanwhile
  }
}

void lend_inputs(Engine& engine, int slot, const GraphSpec& graph, const Budget& budget, Pack& pack) {
  pack.inputs.clear();  // tensors that lie in another slot's memory go
  for (const TensorSpec& spec : graph.inputs) {
    HostTensor& tensor = pack.inputs.emplace_back(spec.name, spec.dtype);
    tensor.lend(engine.input_memory(slot, spec.name, most_bytes(spec, budget)));
  }
}

}  // namespace navit_edge

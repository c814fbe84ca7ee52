#include "session/memory_limit.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/process_memory.h"
#include "engine/engine_set.h"
#include "navit_edge/cores.h"
#include "navit_edge/error.h"
#include "navit_edge/memory.h"
#include "pack/memory_plan.h"
#include "pack/shape_quantum.h"
#include "session/context.h"
#include "sizing/rules.h"

namespace navit_edge {
namespace {

constexpr const char* kCapacity = "CPU_RUNTIME_CACHE_CAPACITY";
constexpr std::array<std::int32_t, 3> kSmallerCapacities{64, 32, 16};
constexpr std::int32_t kLeastPackTokens = 256;  // of a pack, if the sizing rule bounds no image

int threads_of(const SessionOptions& options) { return options.threads > 0 ? options.threads : cpu_limits().cores(); }

/// What the options say; 0: nothing.
std::int32_t capacity_of(const EngineSpec& engine, const SessionOptions& options) {
  const auto given = options.backend.find(kCapacity);
  const auto own = engine.options.find(kCapacity);
  const std::string text = given != options.backend.end() ? given->second
                           : own != engine.options.end()  ? own->second
                                                          : std::string();
  std::int32_t capacity = 0;
  std::from_chars(text.data(), text.data() + text.size(), capacity);  // what is no number the backend refuses
  return std::max(capacity, 0);
}

/// Slots of each set of engines that may be open at once.
std::vector<int> sets_of(const EngineChoice& choice, const SessionOptions& options) {
  if (options.slots > 0) return {options.slots};
  if (pairs(choice, options)) return {1, kPairedSlots};
  return {choice.engine.device == DeviceKind::kCpu || choice.engine.dynamic_tokens ? 1 : kDefaultSlots};
}

}  // namespace

SessionNeed need_of(const Manifest& manifest, const EngineChoice& choice, const SessionOptions& options,
                    Process process) {
  SessionNeed need;
  need.process = process.bytes;
  need.cache = options.cache_bytes;
  const int threads = threads_of(options);
  for (const int slots : sets_of(choice, options)) {
    for (const EngineSpec& member : choice.members) {
      const EngineNeed one = engine_memory(manifest, member, {slots, 0, capacity_of(member, options)});
      need.engine.library = process.has_library ? 0 : one.library;
      need.engine.weights += one.weights;
      need.engine.activations += one.activations;
      need.engine.shapes += one.shapes;
      need.session += written_bytes(manifest, member, slots, threads);
    }
  }
  const std::size_t devices = choice.devices.size();
  need.engine.weights *= devices;
  need.engine.activations *= devices;
  need.engine.shapes *= devices;
  need.session *= devices;
  return need;
}

namespace {

/// Opens the engines for packs of up to `tokens`.
void fill_up_to(EngineChoice& choice, std::int32_t tokens) {
  const auto lower = [&](Budget& budget) {
    budget.tokens = std::min(budget.tokens, tokens);
    budget.images = std::min(budget.images, budget.tokens);
    budget.target_tokens = std::min(budget.target_tokens, budget.tokens);
    budget.longest = std::min(budget.longest, budget.tokens);
  };
  for (EngineSpec& member : choice.members) lower(member.budgets.back());
  lower(choice.engine.budgets.back());
}

/// Tokens of the longest image that a session can be given, rounded as packs are; 0: the sizing rule bounds none.
std::int32_t longest_tokens(const Manifest& manifest, const EngineSpec& engine, const SessionOptions& options) {
  std::int32_t cap = token_limit(manifest.preprocess.sizing.rule);
  if (const std::int32_t own = options.max_tokens_per_image; own > 0) cap = cap > 0 ? std::min(cap, own) : own;
  if (cap == 0) return 0;
  const std::int32_t most = engine.budgets.back().tokens;
  const std::int32_t tokens = std::min(cap, most - manifest.model.prefix_tokens) + manifest.model.prefix_tokens;
  return rounded_up(tokens, shape_quantum(engine), most);
}

std::string mib(std::size_t bytes) { return std::to_string(whole_mib(bytes)) + " MiB"; }

std::string words_of(const SessionNeed& need) {
  std::string text = mib(need.process) + " that the process holds already";
  const auto add = [&](std::size_t bytes, const char* what) {
    if (bytes > 0) text += ", " + mib(bytes) + " " + what;
  };
  add(need.engine.library, "for the backend's libraries");
  add(need.engine.weights, "for weights");
  add(need.engine.activations, "for activations");
  add(need.engine.shapes, "for what is kept of shapes");
  add(need.session, "for inputs, outputs and scratch");
  add(need.cache, "for remembered results");
  add(need.spare, "to spare");
  return text;
}

[[noreturn]] void refuse(const EngineChoice& choice, const SessionOptions& options, const SessionNeed& need) {
  std::string remedy = "raise max_memory";
  if (options.slots > 1) remedy += ", ask for fewer slots";
  if (options.cache_bytes > 0) remedy += ", lower cache_bytes";
  if (choice.engine.dynamic_tokens) remedy += ", lower max_tokens_per_image";
  remedy += choice.engine.precision == Precision::kFp32 ? ", or build an engine of another precision" : "";
  throw BackendError("engine " + choice.engine.id + " does not fit into max_memory: the process needs at least " +
                     mib(need.total()) + " (" + words_of(need) + "); max_memory is " +
                     mib(static_cast<std::size_t>(options.max_memory_bytes)) + "; " + remedy);
}

std::atomic<bool> any_opened{false};

}  // namespace

Process Process::now() noexcept { return {resident_bytes(), any_opened.load(std::memory_order_relaxed)}; }
void Process::opened_an_engine() noexcept { any_opened.store(true, std::memory_order_relaxed); }

bool pairs(const EngineChoice& choice, const SessionOptions& options) {
  return options.slots == 0 && choice.engine.dynamic_tokens && threads_of(options) >= kPairedSlots &&
         choice.devices.size() == 1;
}

MemoryLimit keep_under(const Manifest& manifest, EngineChoice& choice, SessionOptions& options, Process process) {
  MemoryLimit limit;
  limit.most = static_cast<std::size_t>(options.max_memory_bytes);
  const auto fits = [&] {
    limit.need = need_of(manifest, choice, options, process);
    limit.need.spare = limit.need.engine.total() / 10;
    return limit.need.total() <= limit.most;
  };
  limit.need.process = process.bytes;
  if (limit.most == 0) return limit;
  const bool dynamic = choice.engine.dynamic_tokens && choice.engine.budgets.size() == 1;
  const std::int32_t longest = dynamic ? longest_tokens(manifest, choice.engine, options) : 0;
  if (dynamic && longest > 0) {
    const Budget& budget = choice.engine.budgets.back();
    const std::int32_t target = budget.target_tokens > 0 ? budget.target_tokens : budget.tokens;
    fill_up_to(choice, std::max(target, longest));
  }
  if (!fits() && options.slots == 0) options.slots = 1;
  const auto file = manifest.files.find(choice.engine.file);
  const std::int32_t kept =
      default_capacity(file == manifest.files.end() ? 0 : static_cast<std::size_t>(file->second.bytes));
  if (choice.engine.backend == "openvino" && capacity_of(choice.engine, options) == 0) {
    for (const std::int32_t capacity : kSmallerCapacities) {
      if (fits()) break;
      if (capacity < kept) options.backend[kCapacity] = std::to_string(capacity);
    }
  }
  const std::int32_t least = longest > 0 ? longest : kLeastPackTokens;
  while (!fits() && dynamic && choice.engine.budgets.back().tokens > least) {
    const std::int32_t tokens = choice.engine.budgets.back().tokens;
    fill_up_to(choice, std::max(least, tokens / 4 * 3));
  }
  if (!fits()) refuse(choice, options, limit.need);
  limit.left = limit.most - limit.need.total();
  const std::uint64_t waiting = std::max<std::uint64_t>(1, limit.left / 2);
  options.decode_bytes = options.decode_bytes > 0 ? std::min(options.decode_bytes, waiting) : waiting;
  options.queue_bytes = options.queue_bytes == 0 ? waiting : std::min(options.queue_bytes, waiting);
  return limit;
}

std::string with_memory(const std::string& report, const SessionNeed& need, const MemoryLimit& limit,
                        std::size_t opened) {
  using nlohmann::json;
  json all = json::parse(report, nullptr, false);
  if (!all.is_object()) return report;  // a backend's that is none
  const EngineNeed& engine = need.engine;
  all["memory"] = {{"predicted",
                    {{"process_before_bytes", need.process},
                     {"library_bytes", engine.library},
                     {"weights_bytes", engine.weights},
                     {"activations_bytes", engine.activations},
                     {"shapes_bytes", engine.shapes},
                     {"session_bytes", need.session},
                     {"cache_bytes", need.cache},
                     {"spare_bytes", need.spare},
                     {"total_bytes", need.total()}}},
                   {"opened_bytes", opened},
                   {"resident_bytes", resident_bytes()}};
  if (limit.most > 0) {
    all["memory"]["max_bytes"] = limit.most;
    all["memory"]["left_bytes"] = limit.left;
  }
  return all.dump();
}

}  // namespace navit_edge

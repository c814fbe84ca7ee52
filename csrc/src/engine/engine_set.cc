#include "engine/engine_set.h"

#include <new>

#include "base/machine_memory.h"
#include "engine/report_text.h"
#include "navit_edge/cores.h"
#include "navit_edge/error.h"
#include "navit_edge/memory.h"
#include "pack/memory_plan.h"
#include "pack/scratch.h"
#include "pack/shape_quantum.h"

namespace navit_edge {
namespace {

constexpr int kMostSlots = 64;  // far above what any device profits from

Engine open_member(const Manifest& manifest, const EngineChoice& choice, const EngineSpec& member,
                   const EngineOptions& options) {
  try {
    return {*choice.backend, manifest, member, options};
  } catch (const Error& e) {
    if (choice.members.size() == 1) throw;
    throw_error(e.code(), "the group " + choice.engine.id + " needs all its engines, and " + member.id +
                              " cannot be opened: " + e.what() + "; or name one of its engines alone");
  }
}

/// Sets aside all that the largest pack of `engine` needs in `slot`. Returns the memory of the inputs.
Arena set_aside(Engine& engine, int slot, const GraphSpec& graph, const Budget& budget, Pack& pack) {
  lend_inputs(engine, slot, graph, budget, pack);
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < pack.inputs.size(); ++i) {
    if (!pack.inputs[i].lent()) bytes += Arena::rounded(most_bytes(graph.inputs[i], budget));
  }
  Arena arena(bytes);
  for (std::size_t i = 0; i < pack.inputs.size(); ++i) {
    HostTensor& tensor = pack.inputs[i];
    const std::size_t most = most_bytes(graph.inputs[i], budget);
    if (!tensor.lent()) tensor.lend(arena.take(most));
    tensor.reserve(most);  // of the lent memory nothing, of the shape all
  }
  pack.segments.reserve(static_cast<std::size_t>(budget.images));
  return arena;
}

/// Refuses budgets that the machine can never hold, before any memory is taken. Returns `choice`.
const EngineChoice& with_memory(const Manifest& manifest, const EngineChoice& choice, int slots) {
  const double bytes = bytes_to_open(manifest, choice.members, slots);
  const std::size_t most = machine_memory_bytes();
  if (bytes <= static_cast<double>(most)) return choice;
  throw too_little_memory(
      choice.engine.id, choice.engine.budgets.back(), bytes,
      "there are " + std::to_string(most) + " for " + std::to_string(slots) + " slot" + (slots == 1 ? "" : "s"));
}

/// A set, or an error that says why the system gave no memory for it.
EngineSet made(const Manifest& manifest, const EngineChoice& choice, const SessionOptions& options, int slots) {
  try {
    return {manifest, choice, options, slots};
  } catch (const std::bad_alloc&) {
    throw too_little_memory(choice.engine.id, choice.engine.budgets.back(),
                            bytes_to_open(manifest, choice.members, slots), "the system gives no more");
  }
}

}  // namespace

EngineSet::EngineSet(const Manifest& manifest, const EngineChoice& choice, const SessionOptions& options, int slots)
    : choice_(&with_memory(manifest, choice, slots)),
      outputs_(manifest.graph(choice.engine.graph), choice.engine.budgets.back(),
               static_cast<std::size_t>(slots + kSpareOutputs)),
      slots_(slots) {
  const int threads = options.threads > 0 ? options.threads : cpu_limits().cores();
  std::vector<std::shared_ptr<PackScratch>> scratch;  // [slots]: engines of a group take turns in a slot
  for (int slot = 0; slot < slots; ++slot) scratch.push_back(std::make_shared<PackScratch>());
  EngineOptions engine_options;
  engine_options.slots = slots;
  engine_options.threads = options.threads;
  engine_options.backend = options.backend;
  const std::int32_t quantum = shape_quantum(choice.engine);
  for (const EngineSpec& member : choice.members) {
    engines_.push_back(open_member(manifest, choice, member, engine_options));
    const Budget largest = with_longest(member.budgets.back(), manifest.preprocess, manifest.model, quantum);
    std::vector<Pack>& packs = packs_.emplace_back(static_cast<std::size_t>(slots));
    std::vector<Arena>& arenas = arenas_.emplace_back();
    for (int slot = 0; slot < slots; ++slot) {
      Pack& pack = packs[static_cast<std::size_t>(slot)];
      arenas.push_back(set_aside(engines_.back(), slot, manifest.graph(member.graph), largest, pack));
      pack.scratch = scratch[static_cast<std::size_t>(slot)];
      reserve_scratch(*pack.scratch, largest, manifest.preprocess, threads);
    }
  }
}

std::string EngineSet::report() const {
  if (engines_.size() == 1) return engines_.front().report();
  std::vector<EngineReport> reports;
  for (std::size_t i = 0; i < engines_.size(); ++i) {
    reports.push_back({choice_->members[i].id, engines_[i].report()});
  }
  return report_of_all("engines", reports);
}

EngineSet open_engines(const Manifest& manifest, EngineChoice& choice, const SessionOptions& options) {
  if (options.slots < 0 || options.slots > kMostSlots) {
    throw InvalidInput("slots is " + std::to_string(options.slots) + "; expected 1 to " + std::to_string(kMostSlots) +
                       ", or 0 for the default");
  }
  if (options.slots > 0) return made(manifest, choice, options, options.slots);
  if (choice.engine.dynamic_tokens || choice.engine.device == DeviceKind::kCpu)
    return made(manifest, choice, options, 1);
  try {
    return made(manifest, choice, options, kDefaultSlots);
  } catch (const BackendError& e) {
    EngineSet alone = made(manifest, choice, options, 1);  // if this fails too, its error says what one slot lacks
    choice.candidates.back().detail +=
        "; one pack at a time, since " + std::to_string(kDefaultSlots) + " slots did not open: " + e.what();
    return alone;
  }
}

}  // namespace navit_edge

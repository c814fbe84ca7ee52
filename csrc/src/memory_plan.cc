#include "memory_plan.h"

#include <algorithm>

#include "navit_edge/memory.h"
#include "navit_edge/pack.h"
#include "navit_edge/plan.h"
#include "pack_scratch.h"

namespace navit_edge {

Budget with_longest(const Budget& budget, const Manifest& manifest) noexcept {
  Budget bounded = budget;
  bounded.longest = longest_image({&budget, 1});
  const std::int32_t cap = manifest.preprocess.sizing.max_tokens;  // a session's own cap only lowers it
  if (cap > 0) bounded.longest = std::min(bounded.longest, cap + manifest.model.prefix_tokens);
  return bounded;
}

std::size_t most_bytes(const TensorSpec& spec, const Budget& budget) noexcept {
  std::size_t bytes = element_bytes(spec.dtype);
  for (const Dim& dim : spec.shape) {
    const std::int64_t letter = dim.symbol == 'T'   ? budget.tokens
                                : dim.symbol == 'N' ? budget.images
                                : dim.symbol == 'L' ? longest_image({&budget, 1})
                                                    : 0;
    bytes *= static_cast<std::size_t>(letter / dim.parts + dim.extent);
  }
  return bytes;
}

std::size_t arena_bytes(std::span<const TensorSpec> specs, const Budget& budget) noexcept {
  std::size_t bytes = 0;
  for (const TensorSpec& spec : specs) bytes += Arena::rounded(most_bytes(spec, budget));
  return bytes;
}

EngineMemory memory_plan(const Manifest& manifest, const EngineSpec& engine, int threads) {
  const GraphSpec& graph = manifest.graph(engine.graph);
  EngineMemory memory;
  memory.engine = engine.id;
  memory.threads = threads;
  for (const Budget& budget : engine.budgets) {
    const Budget largest = with_longest(budget, manifest);
    PackScratch scratch;
    reserve_scratch(scratch, largest, manifest.preprocess, threads);
    memory.budgets.push_back({budget, arena_bytes(graph.inputs, largest),
                              scratch_bytes(scratch) + static_cast<std::size_t>(budget.images) * sizeof(Segment),
                              arena_bytes(graph.outputs, largest)});
  }
  return memory;
}

std::size_t EngineMemory::session_bytes(int slots) const noexcept {
  if (budgets.empty()) return 0;
  return static_cast<std::size_t>(slots) * slot_bytes() + kSpareOutputs * budgets.back().outputs;
}

}  // namespace navit_edge

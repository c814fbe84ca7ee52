#include "pack/memory_plan.h"

#include <algorithm>
#include <new>

#include "navit_edge/engine_memory.h"
#include "navit_edge/memory.h"
#include "navit_edge/pack.h"
#include "navit_edge/plan.h"
#include "pack/scratch.h"
#include "pack/shape_quantum.h"
#include "sizing/rules.h"

namespace navit_edge {
namespace {

/// What is said of tensors that are larger: no machine has it, and sums of it do not wrap.
constexpr std::size_t kMostTensorBytes = std::size_t{1} << 50;

constexpr std::int32_t kTokensOfAnImage = 16;  // at the least, on average: 4 x 4 patches

/// `engine` with its budget lowered to the largest pack that can come: more of what is set aside takes no memory of the
/// machine's.
EngineSpec of_largest_pack(const Manifest& manifest, EngineSpec engine) {
  if (!engine.dynamic_tokens) return engine;
  Budget& budget = engine.budgets.back();
  budget.tokens = largest_pack(manifest, engine);
  budget.images = std::min(budget.images, std::max(kTokensOfAnImage, budget.tokens / kTokensOfAnImage));
  budget.longest = std::min(budget.longest, budget.tokens);
  return engine;
}

}  // namespace

Budget with_longest(const Budget& budget, const PreprocessSpec& preprocess, const ModelSpec& model,
                    std::int32_t quantum) noexcept {
  Budget bounded = budget;
  bounded.longest = longest_image({&budget, 1});
  const std::int32_t cap = token_limit(preprocess.sizing.rule);  // a session's own cap only lowers it
  if (cap > 0 && cap < bounded.longest - model.prefix_tokens) {
    bounded.longest = rounded_up(cap + model.prefix_tokens, quantum, bounded.longest);
  }
  return bounded;
}

std::int64_t extent_of(const Dim& dim, std::int32_t tokens, std::int32_t images, std::int32_t longest) noexcept {
  const std::int64_t letter = dim.symbol == 'T' ? tokens : dim.symbol == 'N' ? images : dim.symbol == 'L' ? longest : 0;
  return letter * dim.times / dim.parts + dim.extent + dim.images * images;
}

std::size_t most_bytes(const TensorSpec& spec, const Budget& budget) noexcept {
  double all = static_cast<double>(element_bytes(spec.dtype));
  std::size_t bytes = element_bytes(spec.dtype);
  for (const Dim& dim : spec.shape) {
    const std::int64_t extent = extent_of(dim, budget.tokens, budget.images, longest_image({&budget, 1}));
    all *= static_cast<double>(extent);
    bytes *= static_cast<std::size_t>(extent);  // may wrap; `all` says so
  }
  return all < static_cast<double>(kMostTensorBytes) ? bytes : kMostTensorBytes;
}

std::size_t arena_bytes(std::span<const TensorSpec> specs, const Budget& budget) noexcept {
  std::size_t bytes = 0;
  for (const TensorSpec& spec : specs) bytes += Arena::rounded(most_bytes(spec, budget));
  return bytes;
}

double bytes_to_open(const Manifest& manifest, std::span<const EngineSpec> engines, int slots) {
  double bytes = 0;
  std::size_t outputs = 0;
  for (const EngineSpec& engine : engines) {
    const GraphSpec& graph = manifest.graph(engine.graph);
    const Budget largest =
        with_longest(engine.budgets.back(), manifest.preprocess, manifest.model, shape_quantum(engine));
    bytes += static_cast<double>(slots) * static_cast<double>(arena_bytes(graph.inputs, largest));
    bytes += static_cast<double>(slots) * static_cast<double>(largest.images) * (sizeof(Segment) + sizeof(Band));
    outputs = std::max(outputs, arena_bytes(graph.outputs, largest));
  }
  return bytes + static_cast<double>(slots + kSpareOutputs) * static_cast<double>(outputs);
}

BackendError too_little_memory(const std::string& engine, const Budget& budget, double bytes,
                               const std::string& found) {
  const auto digits = [](double number) { return std::to_string(static_cast<std::uint64_t>(number)); };
  return BackendError("engine " + engine + " needs at least " + digits(bytes) + " bytes of memory for packs of " +
                      std::to_string(budget.tokens) + " tokens and " + std::to_string(budget.images) + " images; " +
                      found + "; build it with smaller --token-budgets and --max-images, or open it with fewer slots");
}

EngineMemory memory_plan(const Manifest& manifest, const EngineSpec& engine, int threads) {
  const GraphSpec& graph = manifest.graph(engine.graph);
  EngineMemory memory;
  memory.engine = engine.id;
  memory.threads = threads;
  const std::int32_t quantum = shape_quantum(engine);
  for (const Budget& budget : engine.budgets) {
    const Budget largest = with_longest(budget, manifest.preprocess, manifest.model, quantum);
    PackScratch scratch;
    try {
      reserve_scratch(scratch, largest, manifest.preprocess, threads);
    } catch (const std::bad_alloc&) {
      throw too_little_memory(engine.id, largest, bytes_to_open(manifest, {&engine, 1}, 1),
                              "there is not enough even to count it");
    }
    memory.budgets.push_back({budget, arena_bytes(graph.inputs, largest),
                              scratch_bytes(scratch) + static_cast<std::size_t>(budget.images) * sizeof(Segment),
                              arena_bytes(graph.outputs, largest)});
  }
  return memory;
}

std::size_t written_bytes(const Manifest& manifest, const EngineSpec& engine, int slots, int threads) {
  return memory_plan(manifest, of_largest_pack(manifest, engine), threads).session_bytes(slots);
}

std::size_t EngineMemory::session_bytes(int slots) const noexcept {
  if (budgets.empty()) return 0;
  return static_cast<std::size_t>(slots) * slot_bytes() + kSpareOutputs * budgets.back().outputs;
}

}  // namespace navit_edge

// How much host memory a session sets aside: from the manifest alone, no engine is opened (docs/memory.md).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "navit_edge/manifest.h"

namespace navit_edge {

/// Host bytes for packs of one budget, each tensor rounded up to 64.
struct BudgetMemory {
  Budget budget;
  std::size_t inputs = 0;   // of a pack. If the engine lends them (pinned memory) they are its, not the slot's
  std::size_t scratch = 0;  // what the pack is resized and cut with, by all threads
  std::size_t outputs = 0;  // of a pack
  [[nodiscard]] std::size_t total() const noexcept { return inputs + scratch + outputs; }
};

struct NAVIT_EDGE_API EngineMemory {
  std::string engine;                 // id
  int threads = 1;                    // that write a pack
  std::vector<BudgetMemory> budgets;  // as EngineSpec::budgets

  /// What a slot holds: memory for its largest budget, which the smaller ones share.
  [[nodiscard]] std::size_t slot_bytes() const noexcept { return budgets.empty() ? 0 : budgets.back().total(); }
  /// What a session of `slots` slots holds: the slots, and outputs of kSpareOutputs packs for results that are read
  /// while the next packs run.
  [[nodiscard]] std::size_t session_bytes(int slots) const noexcept;
};

/// Outputs that a session keeps beyond one for each slot.
inline constexpr int kSpareOutputs = 2;

/// Memory for `engine` in a session of `threads` threads. Throws BundleError if its graph is not in the manifest.
NAVIT_EDGE_API EngineMemory memory_plan(const Manifest& manifest, const EngineSpec& engine, int threads);

/// What of that a session of `slots` slots ever writes to: as much as the largest pack that can come, of
/// images of 16 tokens or more.
NAVIT_EDGE_API std::size_t written_bytes(const Manifest& manifest, const EngineSpec& engine, int slots, int threads);

}  // namespace navit_edge

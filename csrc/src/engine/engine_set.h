// The engines that a session runs packs on.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/arena.h"
#include "engine/engine_choice.h"
#include "navit_edge/engine.h"
#include "navit_edge/pack.h"
#include "navit_edge/session.h"
#include "pack/output_pool.h"

namespace navit_edge {

/// One engine, or all of a group, opened with the same number of slots. `run` may be called from several threads at
/// once with different slots.
class EngineSet {
 public:
  /// Opens every engine, so that what is missing, altered or too large for the device shows here and not in a run.
  /// Throws BundleError or BackendError that names the engine; nothing stays open then. Borrows `choice`.
  EngineSet(const Manifest& manifest, const EngineChoice& choice, const SessionOptions& options, int slots);
  EngineSet(EngineSet&&) = default;
  EngineSet& operator=(EngineSet&&) = default;

  [[nodiscard]] int slots() const noexcept { return slots_; }
  /// Id of the engine that runs packs of `budget`, an index into the budgets of `choice.engine`.
  [[nodiscard]] const std::string& id_of(std::int32_t budget) const { return choice_->members[member_of(budget)].id; }
  /// Where a pack of `budget` is written for `slot`: in the engine's own memory, where it lends any, else in the slot's
  /// arena. Set aside for the largest pack, and reused.
  [[nodiscard]] Pack& pack(std::int32_t budget, int slot) {
    return packs_[member_of(budget)][static_cast<std::size_t>(slot)];
  }
  /// Outputs for `pack`, which `run` fills. From any thread.
  [[nodiscard]] OutputLease outputs(const Pack& pack) { return outputs_.take(pack); }
  /// As Engine::run, on what `pack(budget, slot)` holds.
  void run(std::int32_t budget, int slot, std::span<HostTensor> outputs) {
    engines_[member_of(budget)].run(slot, pack(budget, slot).inputs, outputs);
  }
  /// As Engine::report; of a group {"engines": {id: report}, "warnings": [all of theirs]}.
  [[nodiscard]] std::string report() const;

 private:
  [[nodiscard]] std::size_t member_of(std::int32_t budget) const {
    return choice_->member_of[static_cast<std::size_t>(budget)];
  }

  const EngineChoice* choice_;
  std::vector<Engine> engines_;             // [choice.members]
  std::vector<std::vector<Arena>> arenas_;  // [choice.members][slots] inputs that the engines lend no memory for
  std::vector<std::vector<Pack>> packs_;    // [choice.members][slots]; gone before what they borrow
  OutputPool outputs_;
  int slots_;
};

/// The set a session starts with: of `options.slots` slots; by default of kDefaultSlots for engines of fixed tokens on
/// an accelerator, else of one. If the default does not open, one slot is tried, and why is added to the candidate.
inline constexpr int kDefaultSlots = 2;
EngineSet open_engines(const Manifest& manifest, EngineChoice& choice, const SessionOptions& options);

}  // namespace navit_edge

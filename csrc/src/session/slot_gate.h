// Which slot the next pack gets, and whether it may have one now.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace navit_edge {

/// What the slots of a session allow.
struct SlotRules {
  int slots = 1;        // packs in flight at most
  bool pairs = false;   // a pack alone has all cores, and two share them; else every slot takes any pack
  bool on_cpu = false;  // the engine computes on the cores that write packs; else one pack is written at a time
  int threads = 1;      // of a pack that has the cores for itself
};

/// Packs come in through `enter` and go through `leave`; `written` says that the engine has one. Not thread-safe.
class SlotGate {
 public:
  explicit SlotGate(const SlotRules& rules)
      : rules_(rules), may_pair_(rules.pairs), taken_(static_cast<std::size_t>(rules.slots)) {}

  /// Whether any pack may come in now.
  [[nodiscard]] bool open() const noexcept {
    return !alone_ && !writing_ && (!rules_.pairs || may_pair_ || in_flight_ == 0);
  }
  /// Whether one may come in that is a pair's, or that is not: it waits until all cores are free.
  [[nodiscard]] bool admits(bool paired) const noexcept { return !rules_.pairs || paired || in_flight_ == 0; }
  [[nodiscard]] bool may_pair() const noexcept { return may_pair_; }
  [[nodiscard]] bool busy() const noexcept { return in_flight_ > 0; }
  /// Whether the packs in flight are two that share the cores of a CPU, as one that comes now would.
  [[nodiscard]] bool shares_device() const noexcept { return rules_.pairs && in_flight_ > 0; }
  /// How many threads write a pack. `company`: other packs are in flight or about to be.
  [[nodiscard]] int threads(bool paired, bool company) const noexcept {
    const bool several_slots = !rules_.pairs && rules_.slots > 1;
    return rules_.on_cpu && (paired || (several_slots && company)) ? 1 : rules_.threads;
  }

  /// The lowest slot that is free: what an engine does once for each slot is done for few.
  int enter(bool paired) {
    const auto free = std::find(taken_.begin(), taken_.end(), false);
    *free = true;
    ++in_flight_;
    alone_ = rules_.pairs && !paired;
    writing_ = !rules_.on_cpu;
    return static_cast<int>(free - taken_.begin());
  }
  /// The pack that was being written is written, or failed. True if that opens the gate for others.
  bool written() noexcept { return std::exchange(writing_, false); }
  void leave(int slot) noexcept {
    taken_[static_cast<std::size_t>(slot)] = false;
    --in_flight_;
    alone_ = false;
  }
  /// Two packs cannot share the device after all: one at a time from here on.
  void stop_pairing() noexcept { may_pair_ = false; }

 private:
  SlotRules rules_;
  bool may_pair_;
  bool alone_ = false;    // a pack that has all cores of a CPU is in flight
  bool writing_ = false;  // a pack is written for an accelerator
  int in_flight_ = 0;
  std::vector<bool> taken_;  // [slots]
};

}  // namespace navit_edge

// What a device has in hand, how fast it is, and who may come in.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "plan/predictor.h"
#include "plan/two_streams.h"
#include "session/slot_gate.h"

namespace navit_edge {

/// Until a pack has been alone on the device, or two have shared it, one way of running tells of the other.
inline void assume_each_other(Predictor& alone, Predictor& paired) noexcept {
  if (alone.known()) paired.assume(2 / kOneStreamCost * alone.ratio());
  if (paired.known()) alone.assume(kOneStreamCost / 2 * paired.ratio());
}

/// Assumed of reading, resizing and writing an image: a nanosecond for each of its pixels.
inline double assumed_prepare_us(std::int64_t pixels, int threads) noexcept {
  return 1e-3 * static_cast<double>(pixels) / std::max(1, threads);
}

/// One device as the scheduler knows it. Packs in several slots count as if it computed one after the other. Not
/// thread-safe; allocates nothing.
class DeviceLoad {
 public:
  explicit DeviceLoad(const SlotRules& rules) : gate_(rules), in_flight_(static_cast<std::size_t>(rules.slots)) {
    order_.reserve(in_flight_.size());
  }

  [[nodiscard]] SlotGate& gate() noexcept { return gate_; }
  [[nodiscard]] const SlotGate& gate() const noexcept { return gate_; }
  /// From preprocessing to outputs against the cost model's word, of a pack alone on the device, or of two that share
  /// a CPU.
  [[nodiscard]] Predictor& latency(bool paired) noexcept { return latency_[paired ? 1 : 0]; }
  /// In the engine alone.
  [[nodiscard]] Predictor& engine(bool paired) noexcept { return engine_[paired ? 1 : 0]; }
  [[nodiscard]] const Predictor& engine(bool paired) const noexcept { return engine_[paired ? 1 : 0]; }
  /// Resizing and moving of pixels, against `prepare_us`.
  [[nodiscard]] Predictor& prepare() noexcept { return prepare_; }
  [[nodiscard]] const Predictor& prepare() const noexcept { return prepare_; }
  /// How long the device is busy with a pack, in the same measure.
  [[nodiscard]] Predictor& pace() noexcept { return pace_; }
  [[nodiscard]] const Predictor& pace() const noexcept { return pace_; }

  /// It has failed, and takes no more packs.
  [[nodiscard]] bool lost() const noexcept { return lost_; }
  void lose() noexcept { lost_ = true; }
  [[nodiscard]] bool open() const noexcept { return !lost_ && gate_.open(); }

  /// A pack comes in that is expected to take so long. Its slot.
  int enter(bool paired, double expected_us, Clock::time_point now) {
    const int slot = gate_.enter(paired);
    if (order_.empty()) since_ = now;
    order_.push_back(slot);
    in_flight_[static_cast<std::size_t>(slot)] = {expected_us, now};
    return slot;
  }
  /// How long the device was busy with it.
  double leave(int slot, Clock::time_point now) {
    gate_.leave(slot);
    const double busy_us = microseconds(now - std::max(since_, in_flight_[static_cast<std::size_t>(slot)].entered));
    std::erase(order_, slot);
    since_ = now;
    return busy_us;
  }

  /// When it is expected to have done what it has, from `now`. What takes longer than expected is expected to take as
  /// long again as it is late.
  [[nodiscard]] double left_us(Clock::time_point now) const noexcept {
    if (order_.empty()) return 0;
    double left_us = std::abs(expected_us(0) - microseconds(now - since_));
    for (std::size_t i = 1; i < order_.size(); ++i) left_us += expected_us(i);
    return left_us;
  }

 private:
  struct InFlight {
    double expected_us = 0;
    Clock::time_point entered;
  };

  [[nodiscard]] double expected_us(std::size_t i) const noexcept {
    return in_flight_[static_cast<std::size_t>(order_[i])].expected_us;
  }

  SlotGate gate_;
  std::array<Predictor, 2> latency_{Predictor(1), Predictor(2 / kOneStreamCost)};
  std::array<Predictor, 2> engine_{Predictor(1), Predictor(2 / kOneStreamCost)};
  Predictor prepare_;
  Predictor pace_;
  bool lost_ = false;
  std::vector<InFlight> in_flight_;  // [slots]
  std::vector<int> order_;           // slots that are taken, in the order in which their packs came
  Clock::time_point since_;          // the device works for the first of them, unless a pack left before it
};

}  // namespace navit_edge

// One call of `run`.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/clock.h"
#include "navit_edge/plan.h"
#include "navit_edge/session.h"

namespace navit_edge {

/// The caller's: it stays until every pack has ended. Lanes touch a pack's results while they have the pack.
struct RunJob {
  Clock::time_point start;
  std::uint64_t first_id = 0;  // of image 0; the others count up
  std::span<const ImageView> images;
  std::vector<Grid> grids;          // [images], valid where the result has no error
  std::vector<PackPlan> plans;      // image indices are the caller's
  double predicted_us = 0;          // of all plans
  std::vector<Result> results;      // [images]
  std::vector<PackReport> reports;  // [plans]
  std::size_t paired_packs = 0;     // the first ones, on two streams of a CPU; the others one by one

  // Guarded by the room's mutex.
  std::size_t next = 0;         // the pack that starts next
  double left_us = 0;           // predicted, of the packs that have not begun
  std::size_t ended = 0;        // packs
  std::size_t images_done = 0;  // failed ones among them
  std::int32_t in_flight = 0;
  std::int32_t most_in_flight = 0;
  std::uint64_t served = 0;       // when a pack of it was last started, in packs of the session; or when it came
  Clock::time_point waits_since;  // the same on the clock
  std::condition_variable changed;

  [[nodiscard]] bool all_begun() const noexcept { return next >= plans.size(); }
  [[nodiscard]] bool all_ended() const noexcept { return ended >= plans.size(); }
};

}  // namespace navit_edge

// A pack from the scheduler to its results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "session/batcher.h"
#include "session/pack_runner.h"
#include "session/run_job.h"

namespace navit_edge {

/// One for a worker, filled by the scheduler again and again without an allocation.
struct ScheduledPack {
  explicit ScheduledPack(std::size_t most_images) {
    batch.images.reserve(most_images);
    batch.plan.images.reserve(most_images);
    views.reserve(most_images);
    grids.reserve(most_images);
    results.reserve(most_images);
  }

  struct Image {
    std::uint64_t id;
    Clock::time_point submitted;
    Clock::time_point deadline;  // max(): none
  };
  /// Of index `i` in `task`.
  [[nodiscard]] Image image(std::size_t i) const {
    if (job != nullptr) return {job->first_id + i, job->start, Clock::time_point::max()};
    return {batch.images[i]->id, batch.images[i]->submitted, batch.images[i]->deadline};
  }
  /// The results of `task` into the submitted images, if it has such.
  void hand_back() {
    if (job != nullptr) return;
    for (std::size_t i = 0; i < batch.images.size(); ++i) batch.images[i]->result = std::move(results[i]);
  }

  PackTask task;
  RunJob* job = nullptr;  // null: submitted images
  Batch batch;            // of submitted images; the spans of its task are of the vectors below
  std::vector<ImageView> views;
  std::vector<Grid> grids;
  std::vector<Result> results;
  bool paired = false;
  int slot = 0;
  int threads = 1;           // that write it
  std::uint64_t number = 0;  // of all packs of the session
  Clock::time_point claimed;
};

}  // namespace navit_edge

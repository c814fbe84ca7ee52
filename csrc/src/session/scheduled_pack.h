// A pack from the scheduler to its results.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "session/batcher.h"
#include "session/run_job.h"

namespace navit_edge {

/// Of a run, or of submitted images. A worker has one, which the scheduler fills again and again without an allocation.
struct ScheduledPack {
  struct Image {
    std::uint64_t id;
    Clock::time_point submitted;
    Clock::time_point waits_since;  // the same; of a second pass the end of the first
    Clock::time_point deadline;     // max(): none
    const Promise* promise;         // never null
  };

  explicit ScheduledPack(std::size_t most_images) {
    batch.images.reserve(most_images);
    batch.plan.images.reserve(most_images);
    own_views.reserve(most_images);
    own_grids.reserve(most_images);
    own_results.reserve(most_images);
  }

  [[nodiscard]] std::string name() const {  // opens messages: "pack 3 of 7"
    return "pack " + std::to_string(index) + (job != nullptr ? " of " + std::to_string(job->plans.size()) : "");
  }
  [[nodiscard]] std::string description() const {
    return name() + " (" + std::to_string(plan->images.size()) + " images, " + std::to_string(plan->tokens) +
           " tokens)";
  }
  /// Of index `i` in `images`.
  [[nodiscard]] Image image(std::size_t i) const {
    if (job != nullptr)
      return {job->first_id + i, job->start, job->pass_start, Clock::time_point::max(), &job->promise};
    const PendingImage& image = *batch.images[i];
    return {image.id, image.submitted, image.waits_since, image.deadline, &image.promise};
  }
  /// Whether it has been run before, or an image of it, on a device that failed.
  [[nodiscard]] bool failed_before() const {
    if (job != nullptr) return job->failed_on[index] >= 0;
    return std::any_of(batch.images.begin(), batch.images.end(),
                       [](const PendingImage* image) { return image->failed_on >= 0; });
  }
  /// The results into the submitted images, if it has such.
  void hand_back() {
    if (job != nullptr) return;
    for (std::size_t i = 0; i < batch.images.size(); ++i) batch.images[i]->result = std::move(own_results[i]);
  }

  const PackPlan* plan = nullptr;  // names images by their index in the spans
  std::span<const ImageView> images;
  std::span<const Grid> grids;
  std::span<Result> results;
  std::size_t index = 0;     // in its run; of submitted images among the packs of such
  std::uint64_t number = 0;  // of all packs of the session
  std::size_t device = 0;    // an index
  bool paired = false;
  int slot = 0;             // of the device
  int session_slot = 0;     // of all devices
  int threads = 1;          // that write it
  double predicted_us = 0;  // as the plan has it, less what was dropped when it was written
  Clock::time_point claimed;

  RunJob* job = nullptr;  // null: submitted images
  Batch batch;            // of submitted images; the spans are of these
  std::vector<ImageView> own_views;
  std::vector<Grid> own_grids;
  std::vector<Result> own_results;
};

}  // namespace navit_edge

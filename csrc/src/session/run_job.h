// One call of `run`.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/function_ref.h"
#include "navit_edge/plan.h"
#include "navit_edge/session.h"
#include "session/context.h"
#include "session/promise.h"
#include "session/session_memory.h"

namespace navit_edge {

/// The caller's: it stays until every pack has ended. Workers touch a pack's results while they have the pack.
struct RunJob {
  RunJob(std::span<const ImageView> all, std::uint64_t first) : first_id(first), images(all) {}

  /// Sizes the images and plans their packs; an image that cannot be run gets its error, one whose result `memory`
  /// (null: none) has gets that, and of images of the same content the first is planned. `may_pair`: two packs may
  /// share a CPU. `devices`: as PlanLimits has them; none: the first one takes all packs.
  void plan(const SessionContext& context, const Load& load, bool may_pair, std::vector<PlanDevice> devices,
            SessionMemory* memory = nullptr, std::span<const std::optional<Content>> contents = {});
  /// Plans the images that run again, once all packs have ended. False if there are none.
  bool plan_second_pass(const SessionContext& context, bool may_pair, std::vector<PlanDevice> devices);
  /// Deals the packs from `first` on out to so many devices, as `plans` says.
  void deal(std::size_t devices, std::size_t first = 0);

  /// Images that get the result of `image`.
  template <class Twin>
  void each_twin(std::size_t image, Twin&& twin) const {
    for (std::int32_t i = twins.empty() ? -1 : twins[image]; i >= 0; i = twins[static_cast<std::size_t>(i)]) {
      twin(static_cast<std::size_t>(i));
    }
  }
  /// Whether its result was remembered: it is planned in no pack, nor waits for another's.
  [[nodiscard]] bool recalled(std::size_t image) const noexcept { return results[image].cached && !waits(image); }

  // With the session's mutex held.
  /// A pack begins that was planned for `device`. `turn`: its number in packs of the session.
  void begin_pack(std::size_t device, std::size_t index, std::uint64_t turn, Clock::time_point now);
  /// A pack that had begun has failed on `device` and is to be run again; `plan_first` says where.
  void unbegin_pack(std::size_t device, std::size_t index);
  /// The pack is the next one on `device`.
  void plan_first(std::size_t device, std::size_t index) noexcept;
  /// Gives all packs that were planned for `device` to `plan`, the last one first.
  void plan_again(std::size_t device, FunctionRef<void(std::size_t index)> plan);
  /// A pack that had begun has ended.
  void end_pack(const PackPlan& pack);
  /// Packs that have not begun will not.
  void fail_rest(const std::exception_ptr& error);
  /// Images that would have a second pass, and no pack yet, have none.
  void fail_again(const std::exception_ptr& error);
  /// Waits until all packs have ended, and tells of the progress meanwhile. What `options` throws is given to `stop`,
  /// and returned when the packs in flight have ended.
  std::exception_ptr wait(std::unique_lock<std::mutex>& lock, const RunOptions& options,
                          FunctionRef<void(const std::exception_ptr&)> stop);
  [[nodiscard]] bool all_begun() const noexcept { return begun >= plans.size(); }
  [[nodiscard]] bool all_ended() const noexcept { return ended >= plans.size(); }

  Clock::time_point start = Clock::now();
  Clock::time_point pass_start = start;  // of a second pass the end of the first
  std::uint64_t first_id;                // of image 0; the others count up
  std::span<const ImageView> images;
  Promise promise;                             // of all images; its policy is theirs
  std::vector<Grid> grids;                     // [images], valid if the result has no error
  std::vector<std::optional<ResultKey>> keys;  // [images], of those that are planned; empty without a memory
  std::vector<std::int32_t> twins;             // [images] the next image of the same content, -1: none; empty as above
  std::vector<bool> follows;                   // [images] waits for the result of an earlier one; empty as above
  std::span<const std::optional<Content>> contents;  // [images] or empty
  std::vector<PackPlan> plans;                       // image indices are the caller's
  std::vector<Result> results;                       // [images]
  RunReport report;                                  // `packs`: [plans]
  std::size_t paired_packs = 0;                      // the first ones, on two streams of a CPU; the others one by one

  // Guarded by the session's mutex.
  std::vector<std::vector<std::size_t>> waiting;  // [devices] packs that have not begun, the next one at the back
  std::vector<double> waiting_us;                 // [devices] predicted, of these
  std::vector<std::int32_t> failed_on;            // [plans] the device on which it has failed; -1: on none
  std::size_t begun = 0;                          // packs
  double left_us = 0;                             // predicted, of the packs that have not begun
  std::size_t ended = 0;                          // packs
  std::size_t images_done = 0;                    // failed ones among them
  std::int32_t in_flight = 0;
  std::uint64_t served = 0;       // when a pack of it was last started, in packs of the session; or when it came
  Clock::time_point waits_since;  // the same on the clock
  std::condition_variable changed;

 private:
  void plan_images(std::span<const std::int32_t> which, const SessionContext& context, bool may_pair,
                   std::vector<PlanDevice> devices);
  [[nodiscard]] bool waits(std::size_t image) const noexcept { return !follows.empty() && follows[image]; }
  void look_up(const SessionContext& context, const Policy& policy, SessionMemory& memory);
  void settle(std::int32_t image);
};

}  // namespace navit_edge

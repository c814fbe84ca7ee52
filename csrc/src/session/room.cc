#include "session/room.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "navit_edge/error.h"
#include "pixels/image_check.h"
#include "plan/two_streams.h"
#include "session/wait.h"

namespace navit_edge {
namespace {

/// std::bad_alloc where there is no memory for the words.
std::exception_ptr broken_error(const std::string& why) noexcept {
  try {
    return std::make_exception_ptr(BackendError("the session is broken: " + why + "; open the session again"));
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace

Room::Room(const std::filesystem::path& bundle, SessionOptions options)
    : opened_(bundle, std::move(options)),
      engines_(open_engines(opened_.manifest, opened_.choice, opened_.options)),
      engine_slots_(engines_->slots()),
      pairs_(opened_.may_pair),
      queue_(opened_.options.queue_limit, opened_.options.queue_bytes),
      batcher_(opened_.limits),
      pace_{Pace(1), Pace(2 / kOneStreamCost)} {
  opened_.limits.streams = opened_.choice.engine.dynamic_tokens && slots() >= 2 ? 2 : 1;
}

void Room::refuse_where_over() const {
  if (breaker_.broken()) std::rethrow_exception(broken_error(breaker_.why()));
  if (closing_) throw Cancelled("the session is closed; open another");
}

const Policy& Room::policy_of(const std::optional<Policy>& asked) const noexcept {
  return asked ? *asked : opened_.sizer.policy();
}

double Room::waiting_us() const {
  double waiting_us = queue_.work_us();
  for (const RunJob* job : jobs_) waiting_us += job->left_us;
  const Clock::time_point now = Clock::now();
  for (const Lane& lane : lanes_) {
    if (lane.phase != Lane::Phase::kWriting && lane.phase != Lane::Phase::kRunning) continue;
    const double gone_us = lane.phase == Lane::Phase::kRunning ? microseconds(now - lane.running_since) : 0.0;
    waiting_us += std::max(0.0, lane.task.plan->predicted_us - gone_us);
  }
  return waiting_us;
}

Load Room::load_for(const Policy& policy, std::size_t images) const {
  if (policy.kind() != Policy::Kind::kLatency) return {};
  const Lock lock(mutex_);
  return {waiting_us(), static_cast<std::int32_t>(images)};
}

void Room::size_image(const ImageView& image, std::uint64_t index, const Policy& policy, const Load& load,
                      Result& result) const {
  check_image(image, "image " + std::to_string(index), opened_.sizer.preprocess().alpha);
  opened_.sizer.size(static_cast<std::size_t>(index), result, policy, load, &image);
}

void Room::plan(RunJob& job, const Policy& policy) const {
  const Load load = load_for(policy, job.images.size());
  std::vector<std::int32_t> token_counts;
  std::vector<std::int32_t> image_of;  // index among the runnable -> index among all
  job.grids.resize(job.images.size());
  job.results.resize(job.images.size());
  for (std::size_t i = 0; i < job.images.size(); ++i) {
    Result& result = job.results[i];
    result.image = job.images[i].size();
    try {
      size_image(job.images[i], i, policy, load, result);
      job.grids[i] = result.grid;
      token_counts.push_back(result.tokens);
      image_of.push_back(static_cast<std::int32_t>(i));
    } catch (const Error&) {
      result.error = std::current_exception();
    }
  }
  Plan plan = plan_packs(token_counts, opened_.limits);
  job.plans = std::move(plan.packs);
  job.predicted_us = plan.predicted_us;
  for (const PackPlan& pack : job.plans) job.left_us += pack.predicted_us;
  for (PackPlan& pack : job.plans) {
    for (std::int32_t& image : pack.images) image = image_of[static_cast<std::size_t>(image)];
  }
  job.reports.resize(job.plans.size());
  job.images_done = job.images.size() - image_of.size();
  if (may_pair() && job.plans.size() >= 2) {
    token_counts.clear();
    for (const PackPlan& pack : job.plans) token_counts.push_back(pack.tokens);
    job.paired_packs = packs_on_two_streams(token_counts);
  }
}

std::vector<Result> Room::run(std::span<const ImageView> images, RunReport* report, const RunOptions& options) {
  if (images.empty()) throw InvalidInput("the list of images is empty; expected at least one image");
  {
    const Lock lock(mutex_);
    refuse_where_over();
  }
  RunJob job;
  job.start = Clock::now();
  job.first_id = last_id_.fetch_add(images.size()) + 1;
  job.images = images;
  plan(job, policy_of(options.policy));
  const double plan_us = microseconds_since(job.start);

  std::exception_ptr stopped;
  {
    Lock lock(mutex_);
    refuse_where_over();
    record_taken(job);
    if (!job.plans.empty()) {
      job.served = packs_started_ - std::min<std::uint64_t>(packs_started_, 1);
      job.waits_since = Clock::now();
      jobs_.push_back(&job);
      wake_lanes();
    }
    std::size_t told = images.size() + 1;  // of images_done
    for (;;) {
      if (options.progress != nullptr && stopped == nullptr && told != job.images_done) {
        told = job.images_done;
        lock.unlock();
        try {
          options.progress(told, images.size());
        } catch (...) {
          stopped = std::current_exception();
        }
        lock.lock();
        if (stopped != nullptr) fail_rest(job, stopped);
        continue;
      }
      if (job.all_ended()) break;
      try {
        const std::size_t seen = job.images_done;
        WaitOptions wait;
        if (stopped == nullptr) wait.look_up = options.look_up;
        wait_for(job.changed, lock, wait, [&] { return job.images_done != seen || job.all_ended(); });
      } catch (...) {
        stopped = std::current_exception();
        fail_rest(job, stopped);
      }
    }
  }
  if (stopped != nullptr) std::rethrow_exception(stopped);
  if (report != nullptr) {
    report->packs = std::move(job.reports);
    report->most_in_flight = job.most_in_flight;
    report->predicted_us = job.predicted_us;
    report->cost_measured = opened_.limits.cost.measured;
    report->plan_us = plan_us;
    report->total_us = microseconds_since(job.start);
  }
  return std::move(job.results);
}

void Room::fail_waiting(const std::exception_ptr& error) {
  const ErrorCode code = code_of(error);
  while (!queue_.empty()) {
    Waiting& image = *queue_.oldest();
    queue_.remove(image);
    recorder_.failed(image.id, code, image.submitted, Clock::now(), true);
    image.result.error = error;
    finish(image);
  }
  while (!jobs_.empty()) fail_rest(*jobs_.back(), error);
  for (Submitter* one : submitters_) one->changed.notify_one();  // they are refused
}

void Room::fail_rest(RunJob& job, const std::exception_ptr& error) {
  const ErrorCode code = code_of(error);
  for (; !job.all_begun(); ++job.next, ++job.ended) {
    record_unrun(job, job.plans[job.next], code);
    for (const std::int32_t image : job.plans[job.next].images) {
      job.results[static_cast<std::size_t>(image)].error = error;
      ++job.images_done;
    }
  }
  std::erase(jobs_, &job);
  job.changed.notify_one();
}

void Room::break_down() {
  recorder_.broke();
  fail_waiting(broken_error(breaker_.why()));
}

std::string Room::broken() const {
  const Lock lock(mutex_);
  return breaker_.why();
}

std::string Room::report() {
  const std::lock_guard lock(engines_mutex_);
  if (!engines_) return report_at_close_;
  // Not of the paired engines: they are the same, opened with fewer threads.
  std::string text = engines_->report();
  if (no_pairs_.empty()) return text;
  nlohmann::json report = nlohmann::json::parse(text);
  report["warnings"].push_back("one pack at a time, since two streams did not open: " + no_pairs_);
  return report.dump();
}

}  // namespace navit_edge

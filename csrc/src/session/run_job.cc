#include "session/run_job.h"

#include <algorithm>

#include "navit_edge/error.h"
#include "plan/two_streams.h"
#include "session/wait.h"

namespace navit_edge {

void RunJob::plan(const SessionContext& context, const Policy& policy, const Load& load, bool may_pair,
                  std::vector<PlanDevice> devices) {
  std::vector<std::int32_t> token_counts;
  std::vector<std::int32_t> image_of;  // index among the runnable -> index among all
  grids.resize(images.size());
  results.resize(images.size());
  for (std::size_t i = 0; i < images.size(); ++i) {
    Result& result = results[i];
    result.image = images[i].size();
    try {
      context.size_image(images[i], i, policy, load, result);
      grids[i] = result.grid;
      token_counts.push_back(result.tokens);
      image_of.push_back(static_cast<std::int32_t>(i));
    } catch (const Error&) {
      result.error = std::current_exception();
    }
  }
  PlanLimits limits = context.limits;
  limits.devices = std::move(devices);
  Plan plan = plan_packs(token_counts, limits);
  plans = std::move(plan.packs);
  report.predicted_us = plan.predicted_us;
  report.cost_measured = context.limits.cost.measured;
  for (PackPlan& pack : plans) {
    for (std::int32_t& image : pack.images) image = image_of[static_cast<std::size_t>(image)];
  }
  report.packs.resize(plans.size());
  deal(context.choice.devices.size());
  images_done = images.size() - image_of.size();
  if (may_pair && plans.size() >= 2) {
    token_counts.clear();
    for (const PackPlan& pack : plans) token_counts.push_back(pack.tokens);
    paired_packs = packs_on_two_streams(token_counts);
  }
  report.plan_us = microseconds_since(start);
}

void RunJob::deal(std::size_t devices) {
  waiting.assign(devices, {});
  waiting_us.assign(devices, 0);
  failed_on.assign(plans.size(), -1);
  for (std::vector<std::size_t>& one : waiting) one.reserve(plans.size());  // nothing is allocated from here on
  for (std::size_t i = plans.size(); i-- > 0;) {
    plan_first(static_cast<std::size_t>(plans[i].device), i);
    left_us += plans[i].predicted_us;
  }
}

void RunJob::begin_pack(std::size_t device, std::size_t index, std::uint64_t turn, Clock::time_point now) {
  std::vector<std::size_t>& planned = waiting[device];
  planned.erase(std::find(planned.rbegin(), planned.rend(), index).base() - 1);
  waiting_us[device] = planned.empty() ? 0 : waiting_us[device] - plans[index].predicted_us;
  left_us -= plans[index].predicted_us;
  served = turn;
  waits_since = now;
  report.most_in_flight = std::max(report.most_in_flight, ++in_flight);
  ++begun;
}

void RunJob::unbegin_pack(std::size_t device, std::size_t index) {
  --begun;
  --in_flight;
  left_us += plans[index].predicted_us;
  failed_on[index] = static_cast<std::int32_t>(device);
}

void RunJob::plan_first(std::size_t device, std::size_t index) noexcept {
  waiting[device].push_back(index);
  waiting_us[device] += plans[index].predicted_us;
}

void RunJob::plan_again(std::size_t device, FunctionRef<void(std::size_t index)> plan) {
  std::vector<std::size_t>& planned = waiting[device];
  for (const std::size_t index : planned) plan(index);
  planned.clear();
  waiting_us[device] = 0;
}

void RunJob::end_pack(const PackPlan& pack) {
  --in_flight;
  ++ended;
  images_done += pack.images.size();
  changed.notify_one();
}

void RunJob::fail_rest(const std::exception_ptr& error) {
  for (std::vector<std::size_t>& planned : waiting) {
    for (const std::size_t index : planned) {
      for (const std::int32_t image : plans[index].images) results[static_cast<std::size_t>(image)].error = error;
      images_done += plans[index].images.size();
      ++begun;
      ++ended;
    }
    planned.clear();
  }
  changed.notify_one();
}

std::exception_ptr RunJob::wait(std::unique_lock<std::mutex>& lock, const RunOptions& options,
                                FunctionRef<void(const std::exception_ptr&)> stop) {
  std::exception_ptr stopped;
  std::size_t told = images.size() + 1;  // of images_done
  for (;;) {
    try {
      if (options.progress != nullptr && stopped == nullptr && told != images_done) {
        told = images_done;
        lock.unlock();
        options.progress(told, images.size());
        lock.lock();
        continue;
      }
      if (all_ended()) return stopped;
      const std::size_t seen = images_done;
      WaitOptions wait;
      if (stopped == nullptr) wait.look_up = options.look_up;
      wait_for(changed, lock, wait, [&] { return images_done != seen || all_ended(); });
    } catch (...) {
      stopped = std::current_exception();
      if (!lock.owns_lock()) lock.lock();
      stop(stopped);
    }
  }
}

}  // namespace navit_edge

#include "session/run_job.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include "base/thread_pool.h"
#include "navit_edge/error.h"
#include "plan/two_streams.h"
#include "session/cascade.h"
#include "session/wait.h"

namespace navit_edge {

/// Keys of all images that can be run; results of those that are remembered; the first of each content leads.
void RunJob::look_up(const SessionContext& context, const Policy& policy, SessionMemory& memory) {
  keys.resize(images.size());
  twins.resize(images.size(), -1);
  follows.resize(images.size());
  const auto count = static_cast<std::int64_t>(images.size());
  const int threads_of_one = static_cast<int>(std::max<std::int64_t>(context.threads / count, 1));
  parallel_for(images.size(), context.threads, [&](std::size_t i) {
    if (results[i].error != nullptr) return;
    const std::optional<Content> content = contents.empty() ? std::nullopt : contents[i];
    keys[i] = memory.key_of(images[i], results[i], policy, content, threads_of_one);
  });
  std::unordered_map<ResultKey, std::size_t, ResultKeyHash> last_of;  // of those that share a result
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (!keys[i]) continue;
    if (memory.results().recall(*keys[i], results[i])) {
      results[i].queue_us = microseconds_since(start);
      continue;
    }
    const auto [place, first] = last_of.try_emplace(*keys[i], i);
    if (first) {
      memory.results().count_miss();
      continue;
    }
    memory.results().count_coalesced();
    results[i].cached = follows[i] = true;
    twins[std::exchange(place->second, i)] = static_cast<std::int32_t>(i);
  }
}

void RunJob::plan(const SessionContext& context, const Load& load, bool may_pair, std::vector<PlanDevice> devices,
                  SessionMemory* memory, std::span<const std::optional<Content>> known) {
  if (!known.empty() && known.size() != images.size()) {
    throw InvalidInput("there are " + std::to_string(known.size()) + " contents for " + std::to_string(images.size()) +
                       " images; expected one for each, or none");
  }
  std::vector<std::int32_t> runnable;
  grids.resize(images.size());
  results.resize(images.size());
  std::size_t sized = 0;
  for (std::size_t i = 0; i < images.size(); ++i) {
    Result& result = results[i];
    result.image = images[i].image_size();
    try {
      promise.expected_us += context.size_image(images[i], i, promise.policy, load, result);
      ++sized;
      grids[i] = result.grid;
    } catch (const Error&) {
      result.error = std::current_exception();
    }
  }
  if (sized > 0) promise.expected_us /= static_cast<double>(sized);  // each would have all as large as itself
  contents = known;
  if (memory != nullptr) look_up(context, promise.policy, *memory);
  images_done = images.size();
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (waits(i)) --images_done;
    if (results[i].error != nullptr || results[i].cached) continue;
    --images_done;
    runnable.push_back(static_cast<std::int32_t>(i));
  }
  plan_images(runnable, context, may_pair, std::move(devices));
  report.plan_us = microseconds_since(start);
}

bool RunJob::plan_second_pass(const SessionContext& context, bool may_pair, std::vector<PlanDevice> devices) {
  pass_start = Clock::now();
  std::vector<std::int32_t> again;
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (runs_again(results[i])) again.push_back(static_cast<std::int32_t>(i));
  }
  if (again.empty()) return false;
  plan_images(again, context, may_pair, std::move(devices));
  report.plan_us += microseconds_since(pass_start);
  return true;
}

/// Packs behind those that there are.
void RunJob::plan_images(std::span<const std::int32_t> which, const SessionContext& context, bool may_pair,
                         std::vector<PlanDevice> devices) {
  std::vector<std::int32_t> token_counts;
  token_counts.reserve(which.size());
  for (const std::int32_t image : which) token_counts.push_back(results[static_cast<std::size_t>(image)].tokens);
  PlanLimits limits = context.limits;
  limits.devices = std::move(devices);
  Plan plan = plan_packs(token_counts, limits);
  report.predicted_us += plan.predicted_us;
  report.cost_measured = context.limits.cost.measured;
  token_counts.clear();
  const std::size_t first = plans.size();
  for (PackPlan& pack : plan.packs) {
    for (std::int32_t& image : pack.images) image = which[static_cast<std::size_t>(image)];
    token_counts.push_back(pack.tokens);
    plans.push_back(std::move(pack));
  }
  report.packs.resize(plans.size());
  deal(context.choice.devices.size(), first);
  if (may_pair && token_counts.size() >= 2) paired_packs = first + packs_on_two_streams(token_counts);
}

void RunJob::deal(std::size_t devices, std::size_t first) {
  waiting.assign(devices, {});
  waiting_us.assign(devices, 0);
  failed_on.assign(plans.size(), -1);
  for (std::vector<std::size_t>& one : waiting) one.reserve(plans.size());  // nothing is allocated from here on
  left_us = 0;
  for (std::size_t i = plans.size(); i-- > first;) {
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

/// It has its result or its error, and so have those that wait for it.
void RunJob::settle(std::int32_t image) {
  ++images_done;
  const Result& result = results[static_cast<std::size_t>(image)];
  each_twin(static_cast<std::size_t>(image), [&](std::size_t i) {
    ++images_done;
    share_result(result, results[i]);
    promise.judge(results[i], start, Clock::now());
    results[i].queue_us = microseconds_since(start);
  });
}

void RunJob::end_pack(const PackPlan& pack) {
  --in_flight;
  ++ended;
  for (const std::int32_t image : pack.images) {
    if (!runs_again(results[static_cast<std::size_t>(image)])) settle(image);
  }
  changed.notify_one();
}

void RunJob::fail_again(const std::exception_ptr& error) {
  for (std::size_t i = 0; i < results.size(); ++i) {
    if (!runs_again(results[i])) continue;
    results[i].error = error;
    settle(static_cast<std::int32_t>(i));
  }
}

void RunJob::fail_rest(const std::exception_ptr& error) {
  for (std::vector<std::size_t>& planned : waiting) {
    for (const std::size_t index : planned) {
      for (const std::int32_t image : plans[index].images) {
        results[static_cast<std::size_t>(image)].error = error;
        settle(image);
      }
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

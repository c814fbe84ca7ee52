#include "session/session_core.h"

#include <new>
#include <system_error>
#include <utility>

#include "base/core_list.h"
#include "base/process_memory.h"
#include "navit_edge/error.h"
#include "navit_edge/option_range.h"
#include "pixels/image_check.h"
#include "session/cascade.h"
#include "session/stall_clock.h"

namespace navit_edge {
namespace {

/// As many results may wait for their callbacks: a queue and two packs. Beyond, they slow down who submits.
std::size_t most_completed(const SessionContext& context) {
  return context.options.queue_limit + 2 * static_cast<std::size_t>(context.limits.budgets.back().images);
}

/// What the process holds now. Throws BackendError if the engines, as they are open, are beyond the limit already.
std::size_t opened(const SessionContext& context) {
  const std::size_t bytes = resident_bytes();
  Process::opened_an_engine();
  const std::size_t most = context.memory.most;
  if (most == 0 || bytes <= most) return bytes;
  throw BackendError("the process holds " + std::to_string(whole_mib(bytes)) + " MiB with engine " +
                     context.choice.engine.id + " open; max_memory is " + std::to_string(whole_mib(most)) +
                     " MiB; raise it, or give the session a process of its own");
}

}  // namespace

SessionCore::SessionCore(const std::filesystem::path& bundle, SessionOptions options)
    : context_(bundle, std::move(options)),
      devices_(context_),
      opened_bytes_(opened(context_)),
      submissions_(context_.options.queue_limit, context_.options.queue_bytes, most_completed(context_), completions_),
      twins_(submissions_.queue()),
      scheduler_(context_.limits, {context_.options.aging_us, context_.options.batch_wait_us}, submissions_.queue(),
                 devices_.rules(context_)),
      decoding_(context_, memory_),
      faults_(devices_, scheduler_, submissions_, twins_, completions_, observer_, decoding_) {
  if (context_.options.cache_bytes > 0) memory_.emplace(context_);
  const bool one = devices_.size() == 1;
  context_.limits.streams = one && context_.choice.engine.dynamic_tokens && slots() >= 2 ? 2 : 1;
}

void SessionCore::start() {
  const std::shared_ptr<SessionCore> self = shared_from_this();
  const auto count = static_cast<std::size_t>(slots());
  for (Device& device : devices_) {
    for (int i = 0; i < device.host.slots(); ++i) workers_.emplace_back(context_, device);
  }
  const std::size_t all = count + static_cast<std::size_t>(context_.decoders);
  lifecycle_.expect_workers(all);
  std::size_t started = 0;
  try {
    lifecycle_.start(self, [this] {
      completions_.serve([this](PendingImage* first, std::size_t done) {
        const Lock lock(mutex_);
        submissions_.finished(first, done);
      });
    });
    if (context_.options.stall_timeout_s > 0) lifecycle_.start(self, [this] { watch(); });
    for (Worker& worker : workers_) {
      worker.thread = lifecycle_.start(self, [this, &worker] { serve(worker); });
      ++started;
    }
    for (int i = 0; i < context_.decoders; ++i) {
      (void)lifecycle_.start(self, [this] { decode_files(); });
      ++started;
    }
  } catch (const std::system_error& e) {
    {
      const Lock lock(mutex_);
      lifecycle_.workers_ended(all - started);
    }
    close();
    throw BackendError("the session cannot start its " + std::to_string(all + 2) + " threads: " + e.what() +
                       "; raise the limit on threads of the process, or ask for fewer slots and decoders");
  }
}

std::string SessionCore::report() {
  const SessionContext& at = context_;
  const SessionNeed need =
      at.memory.most > 0 ? at.memory.need : need_of(at.manifest, at.choice, at.options, at.process);
  return with_memory(devices_.report(), need, at.memory, opened_bytes_);
}

void SessionCore::refuse_if_over() const {
  if (faults_.broken()) std::rethrow_exception(faults_.broken_error());
  if (lifecycle_.closing()) throw Cancelled("the session is closed; open another");
}

Load SessionCore::load_for(const Policy& policy, std::span<const ImageView> images, double spent_us) const {
  if (policy.kind() != Policy::Kind::kLatency) return {};
  std::int64_t pixels = 0;
  for (const ImageView& image : images) {
    const Size size = image.size();
    if (size.height_px > 0 && size.width_px > 0) pixels += std::int64_t{size.height_px} * size.width_px;
  }
  const Lock lock(mutex_);
  Load load = scheduler_.load(pixels, images.size(), governor_, Clock::now());
  load.spent_us = spent_us;
  return load;
}

std::exception_ptr SessionCore::over_error() const noexcept {
  return faults_.broken() ? faults_.broken_error() : lifecycle_.closing() ? closed_error() : nullptr;
}

std::vector<Result> SessionCore::run(std::span<const ImageView> images, RunReport* report, const RunOptions& options) {
  if (images.empty()) throw InvalidInput("the list of images is empty; expected at least one image");
  check_option("spent_us", options.spent_us);
  {
    const Lock lock(mutex_);
    refuse_if_over();
  }
  RunJob job(images, last_id_.fetch_add(images.size()) + 1);
  const Policy& policy = context_.policy_of(options.policy);
  std::vector<PlanDevice> devices;
  if (devices_.size() > 1) {
    const Lock lock(mutex_);
    devices = scheduler_.plan_devices(Clock::now());
  }
  job.promise = {policy, options.spent_us, 0};
  job.plan(context_, load_for(policy, images, options.spent_us), devices_[0].host.may_pair(), std::move(devices),
           memory_ ? &*memory_ : nullptr, options.contents);

  std::exception_ptr stopped;
  {
    Lock lock(mutex_);
    refuse_if_over();
    observer_.run_submitted(job);
    if (!job.plans.empty()) {
      scheduler_.add(job, Clock::now());
      wake_workers();
    }
    stopped = job.wait(lock, options, [&](const std::exception_ptr& error) { faults_.fail_rest(job, error); });
    if (stopped == nullptr && !job.plans.empty() && job.promise.made()) {
      governor_.observe(job.promise.expected_us, job.start, Clock::now());
    }
    if (stopped != nullptr) faults_.fail_again(job, stopped);
  }
  if (stopped == nullptr && policy.kind() == Policy::Kind::kCascade) stopped = run_again(job, options);
  if (stopped != nullptr) std::rethrow_exception(stopped);
  if (report != nullptr) {
    *report = std::move(job.report);
    report->total_us = microseconds_since(job.start);
  }
  return std::move(job.results);
}

std::exception_ptr SessionCore::run_again(RunJob& job, const RunOptions& options) {
  std::vector<PlanDevice> devices;
  if (devices_.size() > 1) {
    const Lock lock(mutex_);
    devices = scheduler_.plan_devices(Clock::now());
  }
  bool any = true;
  std::exception_ptr error;
  try {
    any = job.plan_second_pass(context_, devices_[0].host.may_pair(), std::move(devices));
  } catch (const std::bad_alloc&) {
    error = std::current_exception();
  }
  if (!any) return nullptr;
  Lock lock(mutex_);
  if (error != nullptr || over()) {
    faults_.fail_again(job, error != nullptr ? error : over_error());
    return error;
  }
  scheduler_.add(job, Clock::now());
  wake_workers();
  return job.wait(lock, options, [&](const std::exception_ptr& stop) { faults_.fail_rest(job, stop); });
}

std::optional<std::uint64_t> SessionCore::submit(OwnedImage& image, const SubmitOptions& options, Done done,
                                                 const WaitOptions& wait) {
  return intake_.submit(image, options, std::move(done), wait);
}

std::optional<std::uint64_t> SessionCore::submit(std::shared_ptr<ImageSource>& source, const SubmitOptions& options,
                                                 Done done, const WaitOptions& wait) {
  return intake_.submit(source, options, std::move(done), wait);
}

void SessionCore::decode_files() {
  decoding_.serve(
      mutex_, [this] { return lifecycle_.closing(); },
      [this](Decoding::Turn& turn, Decoding::Decoded& decoded) { intake_.admit(turn, decoded); });
  const Lock lock(mutex_);
  lifecycle_.workers_ended();
  finish_if_over();
}

std::optional<Result> SessionCore::recall(const SubmitOptions& options, std::string& note) {
  if (!memory_ || !options.content) return std::nullopt;
  {
    const Lock lock(mutex_);
    refuse_if_over();
  }
  return memory_->recall(options, context_.policy_of(options.policy), ++last_id_, note, observer_);
}

bool SessionCore::cancel(std::uint64_t id) {
  const Lock lock(mutex_);
  const auto error = std::make_exception_ptr(Cancelled("image " + std::to_string(id) + " was cancelled"));
  PendingImage* image = twins_.take_back(id);
  if (image == nullptr) {
    image = decoding_.take_back(id);
    if (image == nullptr) return false;
    submissions_.queue().places().leave(image->priority, image->bytes);
  }
  image->result.error = error;
  observer_.cancelled(*image);
  completions_.put(*image);
  submissions_.let_in();
  return true;
}

bool SessionCore::drain(const WaitOptions& wait) {
  check_option("timeout_us", wait.timeout_us);
  if (lifecycle_.on_own_thread()) {
    throw InvalidInput(
        "drain was called from a callback: it would wait for ever, for the callback itself; call it from another "
        "thread");
  }
  Lock lock(mutex_);
  wake_workers();  // images do not wait for company any more
  return submissions_.drain(lock, wait);
}

bool SessionCore::claim(Worker& worker, Clock::time_point& look_again) {
  Device& device = *worker.device;
  if (!device.host.may_pair()) scheduler_.device(device.index).gate().stop_pairing();
  if (!scheduler_.claim(worker.pack, device.index, submissions_.hurry(), Clock::now(), look_again)) return false;
  worker.pack.session_slot = device.first_slot + worker.pack.slot;
  worker.phase = Worker::Phase::kWriting;
  worker.again = false;
  ++device.counts.in_flight;
  observer_.claimed(worker.pack);
  if (worker.pack.job == nullptr) submissions_.let_in();
  wake_workers();
  return true;
}

void SessionCore::wake_workers() {
  // A worker that could not take anything is not woken: on a CPU it would take a core from the engine.
  for (Device& device : devices_) {
    if (device.idle_workers > 0 && scheduler_.device(device.index).open()) device.work.notify_all();
  }
}

void SessionCore::serve(Worker& worker) {
  Device& device = *worker.device;
  std::optional<CoreBinding> binding;
  try {
    binding.emplace(device.spec->cores);
  } catch (const Error&) {  // they could be used when it was opened; it goes on without
  }
  Lock lock(mutex_);
  for (;;) {
    Clock::time_point look_again = Clock::time_point::max();
    if (!claim(worker, look_again)) {
      if (lifecycle_.closing()) break;
      ++device.idle_workers;
      wait_until(device.work, lock, look_again);
      --device.idle_workers;
      continue;
    }
    lock.unlock();
    carry_out(worker);
    lock.lock();
    if (worker.abandoned) return;  // whatever it held has been taken from it
    end(worker);
  }
  lifecycle_.workers_ended();
  finish_if_over();
}

void SessionCore::carry_out(Worker& worker) {
  observer_.started(worker.pack);
  EngineHost::Place place;
  worker.runner.write(worker.pack, worker.device->host, place);
  worker.pack.predicted_us = worker.runner.report().predicted_us;
  // With several devices pixels stay until the result is there: another one may have to read them again.
  if (worker.pack.job == nullptr && devices_.size() == 1) completions_.release(worker.pack.batch.images);
  {
    const Lock lock(mutex_);
    worker.phase = worker.runner.error() == nullptr ? Worker::Phase::kRunning : Worker::Phase::kEnding;
    worker.running_since = Clock::now();
    worker.held = {};
    if (scheduler_.device(worker.device->index).gate().written()) wake_workers();
  }
  if (worker.runner.error() == nullptr) {
    worker.runner.run();
    const Lock lock(mutex_);
    if (worker.abandoned) return;
    worker.phase = Worker::Phase::kEnding;
    worker.again = worker.runner.error() != nullptr && !over() && faults_.may_run_again(worker.pack);
  }
  if (worker.again) {
    worker.runner.give_up(worker.pack);
    observer_.given_back(worker.pack, worker.runner, false, worker.runner.error());
  } else {
    worker.runner.finish(worker.pack);
    judge_cascades(context_, worker.pack, [&](std::int32_t tokens, Clock::time_point deadline) {
      const Lock lock(mutex_);
      return scheduler_.in_time(tokens, deadline, Clock::now());
    });
    if (memory_) memory_->remember(worker.pack);
    observer_.ended(worker.pack, worker.runner, false, worker.runner.error());
  }
  worker.pack.hand_back();
}

void SessionCore::end(Worker& worker) {
  const ScheduledPack& pack = worker.pack;
  Device& device = *worker.device;
  worker.phase = Worker::Phase::kIdle;
  const PackRunner::Outcome outcome = worker.runner.outcome();
  const bool good = outcome == PackRunner::Outcome::kGood;
  const Clock::time_point now = Clock::now();
  const auto first = static_cast<std::size_t>(pack.plan->images.front());
  if (good) {
    const PackReport& took = worker.runner.report();
    scheduler_.learn(pack, took.preprocess_us, took.engine_us);
    governor_.follow(scheduler_.changes(), now);
    const ScheduledPack::Image oldest = pack.image(first);
    if (pack.job == nullptr && oldest.promise->made()) {
      governor_.observe(oldest.promise->expected_us, after(oldest.submitted, oldest.promise->decoding_us), now);
    }
  }
  const double busy_us = scheduler_.end(pack, good, worker.runner.latency_us(), now);
  device.count(pack, good, busy_us);
  if (good) device.breaker.succeeded();
  const bool broke = outcome == PackRunner::Outcome::kBad &&
                     device.breaker.failed(worker.again          ? worker.runner.error()
                                           : pack.job != nullptr ? pack.results[first].error
                                                                 : pack.batch.images[first]->result.error);
  if (worker.again) {
    faults_.give_back(pack, over_error());
  } else if (pack.job != nullptr) {
    PackReport& report = pack.job->report.packs[pack.index];
    try {
      report = worker.runner.report();
    } catch (const std::bad_alloc&) {  // a report without the engine's name
    }
    report.start_us = microseconds(worker.runner.started() - pack.job->start);
    pack.job->end_pack(*pack.plan);
    observer_.twins_ended(*pack.job, *pack.plan);
  } else {
    faults_.end_images(pack, over_error());
  }
  if (broke) faults_.lose(device);
  wake_workers();
}

void SessionCore::watch() {
  StallClock clock(context_.options.stall_timeout_s * 1e6);
  Lock lock(mutex_);
  while (!lifecycle_.over()) {
    const Clock::time_point now = Clock::now();
    const Clock::duration gone = clock.look(now);
    for (Worker& worker : workers_) {
      if (!worker.stalls(now, gone, clock.timeout())) continue;
      try {
        faults_.abandon(worker, context_.options.stall_timeout_s, lifecycle_.closing());
        lifecycle_.leave_behind(worker.thread);
        wake_workers();
        finish_if_over();
      } catch (const std::bad_alloc&) {  // at the next look
      }
    }
    if (!lifecycle_.over()) lifecycle_.wait_for(lock, clock.step());
  }
}

void SessionCore::finish_if_over() {
  if (lifecycle_.over()) completions_.finish();
}

void SessionCore::begin_close() {
  const std::exception_ptr error = closed_error();
  const Lock lock(mutex_);
  if (!lifecycle_.close()) return;
  faults_.fail_all_waiting(error);
  for (Device& device : devices_) device.work.notify_all();
  decoding_.wake();
  finish_if_over();
}

void SessionCore::close() {
  begin_close();
  if (lifecycle_.on_own_thread()) return;
  (void)lifecycle_.join(mutex_);
  devices_.let_go();
}

void SessionCore::leave() {
  if (!lifecycle_.on_own_thread()) return close();
  begin_close();
  lifecycle_.detach();
}

std::string SessionCore::broken() const {
  const Lock lock(mutex_);
  return faults_.why();
}

Metrics SessionCore::metrics() const {
  Metrics all = observer_.recorder().metrics();
  all.slots = slots();
  all.callback_errors = completions_.threw();
  if (memory_) all.cache = memory_->results().metrics();
  all.memory = {static_cast<std::int64_t>(resident_bytes()), static_cast<std::int64_t>(opened_bytes_),
                static_cast<std::int64_t>(context_.memory.most)};
  const Lock lock(mutex_);
  all.devices = devices_.metrics();
  return all;
}

}  // namespace navit_edge

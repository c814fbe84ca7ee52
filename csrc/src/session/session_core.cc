#include "session/session_core.h"

#include <new>
#include <system_error>
#include <utility>

#include "navit_edge/error.h"
#include "navit_edge/option_range.h"
#include "pixels/image_check.h"
#include "session/stall_clock.h"

namespace navit_edge {
namespace {

/// std::bad_alloc if there is no memory for the words.
std::exception_ptr broken_error(const std::string& why) noexcept {
  try {
    return std::make_exception_ptr(BackendError("the session is broken: " + why + "; open the session again"));
  } catch (...) {
    return std::current_exception();
  }
}

/// As many results may wait for their callbacks: a queue and two packs. Beyond, they slow down who submits.
std::size_t most_completed(const SessionContext& context) {
  return context.options.queue_limit + 2 * static_cast<std::size_t>(context.limits.budgets.back().images);
}

}  // namespace

SessionCore::SessionCore(const std::filesystem::path& bundle, SessionOptions options)
    : context_(bundle, std::move(options)),
      host_(context_),
      submissions_(context_.options.queue_limit, context_.options.queue_bytes, most_completed(context_), completions_),
      twins_(submissions_.queue()),
      gate_({host_.slots(), context_.may_pair, context_.on_cpu, context_.threads}),
      scheduler_(context_.limits, {context_.options.aging_us, context_.options.batch_wait_us}, submissions_.queue()) {
  if (context_.options.cache_bytes > 0) memory_.emplace(context_);
  context_.limits.streams = context_.choice.engine.dynamic_tokens && slots() >= 2 ? 2 : 1;
}

void SessionCore::start() {
  const std::shared_ptr<SessionCore> self = shared_from_this();
  const auto count = static_cast<std::size_t>(slots());
  for (std::size_t i = 0; i < count; ++i) workers_.emplace_back(context_);
  lifecycle_.expect_workers(count);
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
  } catch (const std::system_error& e) {
    {
      const Lock lock(mutex_);
      lifecycle_.workers_ended(count - started);
    }
    close();
    throw BackendError("the session cannot start its " + std::to_string(count + 2) + " threads: " + e.what() +
                       "; raise the limit on threads of the process, or ask for fewer slots");
  }
}

void SessionCore::refuse_if_over() const {
  if (breaker_.broken()) std::rethrow_exception(broken_error(breaker_.why()));
  if (lifecycle_.closing()) throw Cancelled("the session is closed; open another");
}

Load SessionCore::load_for(const Policy& policy, std::size_t images) const {
  if (policy.kind() != Policy::Kind::kLatency) return {};
  const Lock lock(mutex_);
  double waiting_us = scheduler_.waiting_us();
  const Clock::time_point now = Clock::now();
  for (const Worker& worker : workers_) waiting_us += worker.left_us(now);
  return {waiting_us, static_cast<std::int32_t>(images)};
}

std::vector<Result> SessionCore::run(std::span<const ImageView> images, RunReport* report, const RunOptions& options) {
  if (images.empty()) throw InvalidInput("the list of images is empty; expected at least one image");
  {
    const Lock lock(mutex_);
    refuse_if_over();
  }
  RunJob job(images, last_id_.fetch_add(images.size()) + 1);
  const Policy& policy = context_.policy_of(options.policy);
  job.plan(context_, policy, load_for(policy, images.size()), host_.may_pair(), memory_ ? &*memory_ : nullptr,
           options.contents);

  std::exception_ptr stopped;
  {
    Lock lock(mutex_);
    refuse_if_over();
    observer_.run_submitted(job);
    if (!job.plans.empty()) {
      scheduler_.add(job, Clock::now());
      wake_workers();
    }
    stopped = job.wait(lock, options, [&](const std::exception_ptr& error) { fail_rest(job, error); });
  }
  if (stopped != nullptr) std::rethrow_exception(stopped);
  if (report != nullptr) {
    *report = std::move(job.report);
    report->total_us = microseconds_since(job.start);
  }
  return std::move(job.results);
}

std::optional<std::uint64_t> SessionCore::submit(OwnedImage& image, const SubmitOptions& options, Done done,
                                                 const WaitOptions& wait) {
  if (done == nullptr) throw InvalidInput("submit was given an empty callback; expected one that takes the result");
  check_option("deadline_us", options.deadline_us);
  check_option("timeout_us", wait.timeout_us);
  SubmitCall call(++last_id_, options, memory_ ? &*memory_ : nullptr);
  const Policy& policy = context_.policy_of(options.policy);
  call.size(context_, image.view, policy, load_for(policy, 1), scheduler_);

  Lock lock(mutex_);
  refuse_if_over();
  const bool takes_place = !call.recall() || !submissions_.takes_results();
  const bool in_callback = lifecycle_.on_own_thread();  // a place may need it to return
  if (takes_place && !submissions_.enter(options.priority, call.bytes, in_callback && wait.timeout_us == kForEver)) {
    if (in_callback || !(wait.timeout_us > 0)) return std::nullopt;
    wake_workers();  // while somebody waits for a place, images do not wait for company
    const bool placed = submissions_.wait_for_place(lock, options.priority, call.bytes, wait, [&] { return over(); });
    refuse_if_over();
    if (!placed) return std::nullopt;
    call.recall();  // what has come meanwhile
  }
  PendingImage* pending = nullptr;
  const bool waits = call.waits();
  try {
    pending = &submissions_.queue().blank();
    call.fill(*pending, image, done);
    if (waits) call.count(twins_.join(*pending));
  } catch (...) {  // memory has run out: it is the caller's, as if it had not been submitted
    if (pending != nullptr) {
      image = std::move(pending->image);
      pending->clear();
      submissions_.queue().recycle(*pending);
    }
    if (takes_place) submissions_.leave(options.priority, call.bytes);
    throw;
  }
  submissions_.begun(*pending);
  observer_.submitted();
  if (waits) {
    wake_workers();
  } else {
    if (takes_place) submissions_.leave(options.priority, call.bytes);
    observer_.recalled(*pending);
    completions_.put(*pending);
  }
  return call.id;
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
  PendingImage* const image = twins_.take_back(id);
  if (image == nullptr) return false;
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
  if (!host_.may_pair()) gate_.stop_pairing();
  if (!scheduler_.claim(worker.pack, gate_, submissions_.hurry(), Clock::now(), look_again)) return false;
  worker.phase = Worker::Phase::kWriting;
  observer_.claimed(worker.pack);
  if (worker.pack.job == nullptr) submissions_.let_in();
  wake_workers();
  return true;
}

void SessionCore::wake_workers() {
  // A worker that could not take anything is not woken: on a CPU it would take a core from the engine.
  if (idle_workers_ > 0 && gate_.open()) work_.notify_all();
}

void SessionCore::serve(Worker& worker) {
  Lock lock(mutex_);
  for (;;) {
    Clock::time_point look_again = Clock::time_point::max();
    if (!claim(worker, look_again)) {
      if (lifecycle_.closing()) break;
      ++idle_workers_;
      wait_until(work_, lock, look_again);
      --idle_workers_;
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
  worker.runner.write(worker.pack, host_, place);
  if (worker.pack.job == nullptr) completions_.release(worker.pack.batch.images);
  {
    const Lock lock(mutex_);
    worker.phase = worker.runner.error() == nullptr ? Worker::Phase::kRunning : Worker::Phase::kEnding;
    worker.running_since = Clock::now();
    worker.held = {};
    if (gate_.written()) wake_workers();
  }
  if (worker.runner.error() == nullptr) {
    worker.runner.run();
    const Lock lock(mutex_);
    if (worker.abandoned) return;
    worker.phase = Worker::Phase::kEnding;
  }
  worker.runner.finish(worker.pack);
  if (memory_) memory_->remember(worker.pack);
  observer_.ended(worker.pack, worker.runner, false, worker.runner.error());
  worker.pack.hand_back();
}

void SessionCore::end(Worker& worker) {
  const ScheduledPack& pack = worker.pack;
  worker.phase = Worker::Phase::kIdle;
  gate_.leave(pack.slot);
  const PackRunner::Outcome outcome = worker.runner.outcome();
  if (outcome == PackRunner::Outcome::kGood) {
    breaker_.succeeded();
    scheduler_.observe(pack, worker.runner.latency_us());
  }
  const auto first = static_cast<std::size_t>(pack.plan->images.front());
  const bool broke =
      outcome == PackRunner::Outcome::kBad &&
      breaker_.failed(pack.job != nullptr ? pack.results[first].error : pack.batch.images[first]->result.error);
  if (pack.job != nullptr) {
    PackReport& report = pack.job->report.packs[pack.index];
    try {
      report = worker.runner.report();
    } catch (const std::bad_alloc&) {  // a report without the engine's name
    }
    report.start_us = microseconds(worker.runner.started() - pack.job->start);
    pack.job->end_pack(*pack.plan);
    observer_.twins_ended(*pack.job, *pack.plan);
  } else {
    for (PendingImage* image : pack.batch.images) complete(*image);
  }
  if (broke) break_down();
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
        abandon(worker);
      } catch (const std::bad_alloc&) {  // at the next look
      }
    }
    if (!lifecycle_.over()) lifecycle_.wait_for(lock, clock.step());
  }
}

/// If memory runs out it throws, and nothing has changed.
void SessionCore::abandon(Worker& worker) {
  const ScheduledPack& pack = worker.pack;
  const std::string what = pack.description() + " stalled: engine " + worker.runner.report().engine +
                           " has not come back for " + std::to_string(context_.options.stall_timeout_s) + " s";
  const auto error = std::make_exception_ptr(
      BackendError(what + "; its thread is left behind; open the session again, in a new process if the device hangs, "
                          "or raise stall_timeout_s"));
  breaker_.stalled(what);
  worker.abandoned = true;
  observer_.ended(pack, worker.runner, true, error);
  if (pack.job != nullptr) {
    PackRunner::fail(pack, error);
    pack.job->end_pack(*pack.plan);
    observer_.twins_ended(*pack.job, *pack.plan);
  } else {
    for (PendingImage* image : pack.batch.images) {
      image->result.error = error;
      complete(*image);
    }
  }
  break_down();
  lifecycle_.leave_behind(worker.thread);
  finish_if_over();
}

void SessionCore::complete(PendingImage& image) {
  PendingImage* const twins = twins_.leave(image, observer_);
  completions_.put(image);
  completions_.put_twins(twins);
  if (twins != nullptr) submissions_.let_in();
}

void SessionCore::fail_rest(RunJob& job, const std::exception_ptr& error) {
  observer_.rest_failed(job, error);
  job.fail_rest(error);
  scheduler_.remove(job);
}

void SessionCore::fail_all_waiting(const std::exception_ptr& error) {
  Queue& queue = submissions_.queue();
  while (!queue.empty()) {
    PendingImage& image = *queue.oldest();
    queue.remove(image);
    observer_.failed_waiting(image, error);
    image.result.error = error;
    complete(image);
  }
  while (!scheduler_.runs().empty()) fail_rest(*scheduler_.runs().back(), error);
  submissions_.wake_submitters();  // they are refused
}

void SessionCore::break_down() {
  recorder().broke();
  const std::exception_ptr error = broken_error(breaker_.why());
  host_.refuse_turns(error);
  fail_all_waiting(error);
}

void SessionCore::finish_if_over() {
  if (lifecycle_.over()) completions_.finish();
}

void SessionCore::begin_close() {
  const auto error = std::make_exception_ptr(Cancelled("the session was closed before this image was run"));
  const Lock lock(mutex_);
  if (!lifecycle_.close()) return;
  fail_all_waiting(error);
  work_.notify_all();
  finish_if_over();
}

void SessionCore::close() {
  begin_close();
  if (lifecycle_.on_own_thread()) return;
  if (lifecycle_.join(mutex_)) host_.let_go();
}

void SessionCore::leave() {
  if (!lifecycle_.on_own_thread()) return close();
  begin_close();
  lifecycle_.detach();
}

std::string SessionCore::broken() const {
  const Lock lock(mutex_);
  return breaker_.why();
}

Metrics SessionCore::metrics() const {
  Metrics all = observer_.recorder().metrics();
  all.slots = slots();
  all.callback_errors = completions_.threw();
  if (memory_) all.cache = memory_->results().metrics();
  return all;
}

}  // namespace navit_edge

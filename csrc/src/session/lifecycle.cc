// The threads of a session: how they start, and how they are left.
#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

#include "navit_edge/error.h"
#include "session/room.h"

namespace navit_edge {
namespace {

thread_local const SessionCore* own_core = nullptr;

}  // namespace

bool SessionCore::on_own_thread() const noexcept { return own_core == this; }

void SessionCore::start() {
  const auto workers = static_cast<std::size_t>(slots());
  for (std::size_t i = 0; i < workers; ++i) workers_.emplace_back(context_);
  slot_taken_.resize(workers);
  const auto thread = [self = shared_from_this()](auto body) {
    return std::thread([self, body] {
      own_core = self.get();
      body(*self);
    });
  };
  try {
    callback_thread_ = thread([](SessionCore& core) {
      core.completions_.serve([&](PendingImage* first, std::size_t count) { core.take_back(first, count); });
    });
    if (context_.options.stall_timeout_s > 0) watchdog_thread_ = thread([](SessionCore& core) { core.watch(); });
    for (Worker& worker : workers_)
      worker_threads_.push_back(thread([&worker](SessionCore& core) { core.serve(worker); }));
  } catch (const std::system_error& e) {
    {
      const Lock lock(mutex_);
      for (std::size_t i = worker_threads_.size(); i < workers_.size(); ++i) workers_[i].exited = true;
      worker_has_gone();
    }
    close();
    throw BackendError("the session cannot start its " + std::to_string(workers + 2) + " threads: " + e.what() +
                       "; raise the limit on threads of the process, or ask for fewer slots");
  }
}

void SessionCore::begin_close() {
  const auto error = std::make_exception_ptr(Cancelled("the session was closed before this image was run"));
  const Lock lock(mutex_);
  if (std::exchange(closing_, true)) return;
  fail_waiting(error);
  work_.notify_all();
  worker_has_gone();
}

bool SessionCore::workers_gone() const {
  for (const Worker& worker : workers_) {
    if (!worker.exited && !worker.abandoned) return false;
  }
  return true;
}

/// Under the lock. Nothing is put into the completion queue once the last worker has gone.
void SessionCore::worker_has_gone() {
  gone_.notify_all();
  if (closing_ && workers_gone()) completions_.finish();
}

void SessionCore::close() {
  begin_close();
  if (on_own_thread()) return;
  const std::lock_guard joining(joining_);
  {
    Lock lock(mutex_);
    gone_.wait(lock, [&] { return workers_gone(); });
  }
  for (std::size_t i = 0; i < worker_threads_.size(); ++i) {
    if (!worker_threads_[i].joinable()) continue;
    workers_[i].abandoned ? worker_threads_[i].detach() : worker_threads_[i].join();
  }
  if (watchdog_thread_.joinable()) watchdog_thread_.join();
  if (callback_thread_.joinable()) callback_thread_.join();
  let_engines_go();
}

/// Gives back what the engines hold of the device, where nobody is in one any more.
void SessionCore::let_engines_go() {
  if (std::any_of(workers_.begin(), workers_.end(), [](const Worker& worker) { return worker.abandoned; })) return;
  std::string last;
  try {
    last = report();
  } catch (const Error&) {
    last = "{}";
  }
  const std::lock_guard lock(engines_mutex_);
  report_at_close_ = std::move(last);
  engines_.reset();
  paired_.reset();
}

void SessionCore::leave() {
  if (!on_own_thread()) return close();
  begin_close();
  const std::lock_guard joining(joining_);
  for (std::thread& thread : worker_threads_) {
    if (thread.joinable()) thread.detach();
  }
  if (watchdog_thread_.joinable()) watchdog_thread_.detach();
  if (callback_thread_.joinable()) callback_thread_.detach();
}

}  // namespace navit_edge

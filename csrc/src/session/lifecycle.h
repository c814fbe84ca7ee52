// The threads of a session, from its start to its end, and the process that they belong to.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/fork_guard.h"

namespace navit_edge {

/// A session ends in this order: `close` says that no more comes in; each worker ends, or is left behind if an
/// engine never gives it back; then `over` is true and the other threads end; `join` waits for all that.
class Lifecycle {
 public:
  using Lock = std::unique_lock<std::mutex>;

  // With the session's mutex held.
  [[nodiscard]] bool closing() const noexcept { return closing_; }
  [[nodiscard]] bool over() const noexcept { return closing_ && workers_ == 0; }
  /// False if it was closed before.
  bool close() noexcept {
    changed_.notify_all();
    return !std::exchange(closing_, true);
  }
  /// Before their threads start. Sets aside what `leave_behind` needs.
  void expect_workers(std::size_t count) {
    left_behind_.reserve(count);
    workers_ = count;
  }
  /// `count` workers have ended, or never started.
  void workers_ended(std::size_t count = 1) noexcept {
    workers_ -= count;
    changed_.notify_all();
  }
  /// The worker on the thread of this number will not end: nobody waits for it.
  void leave_behind(std::size_t thread) noexcept {
    left_behind_.push_back(thread);
    workers_ended();
  }
  /// Waits for `span`, or until a worker has ended or the session is closed.
  void wait_for(Lock& lock, Clock::duration span) { changed_.wait_for(lock, span); }

  // Without it.
  /// Runs `body` on a thread of its own, which keeps `owner` alive. Its number. Throws std::system_error.
  std::size_t start(std::shared_ptr<const void> owner, std::function<void()> body);
  [[nodiscard]] bool on_own_thread() const noexcept;
  /// After `close`: waits until all threads have ended, but for those left behind. False if there are such. `mutex`
  /// is the session's.
  bool join(std::mutex& mutex);
  /// Lets the threads end by themselves.
  void detach();

  [[nodiscard]] const ProcessMark& process() const noexcept { return process_; }

 private:
  const ProcessMark process_;

  // Guarded by the session's mutex.
  bool closing_ = false;
  std::size_t workers_ = 0;  // that have not ended
  std::vector<std::size_t> left_behind_;
  std::condition_variable changed_;

  std::mutex joining_;                // before the session's mutex
  std::vector<std::thread> threads_;  // guarded by joining_
};

}  // namespace navit_edge

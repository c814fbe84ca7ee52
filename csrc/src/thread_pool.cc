#include "thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#endif

namespace navit_edge {
namespace {

/// One parallel_for. Whoever has a free hand claims the next index; the caller never waits for a worker that has not
/// started, so a busy pool costs speed and cannot cause a deadlock.
struct Job {
  Job(std::size_t n, const std::function<void(std::size_t)>& f) : count(n), body(f) {}

  void work() noexcept {
    for (;;) {
      const std::size_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= count) return;
      try {
        body(index);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (error == nullptr || index < error_index) {
          error = std::current_exception();
          error_index = index;
        }
        next.store(count, std::memory_order_relaxed);
      }
    }
  }

  const std::size_t count;
  const std::function<void(std::size_t)>& body;  // the caller's; touched only while the caller waits
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::condition_variable idle;
  int helpers = 0;      // workers inside work(); guarded by mutex
  bool closed = false;  // no further helper may enter; guarded by mutex
  std::exception_ptr error;
  std::size_t error_index = 0;
};

class Pool {
 public:
  /// Never destroyed: workers may outlive static destructors of the application. A forked child has none of the
  /// workers, and the mutex may be held there: it gets a pool of its own.
  static Pool& instance() {
    static std::atomic<Pool*> current{nullptr};
    static const int forgotten = ::pthread_atfork(nullptr, nullptr, [] { current = nullptr; });
    (void)forgotten;
    Pool* pool = current.load(std::memory_order_acquire);
    if (pool != nullptr) return *pool;
    auto* fresh = new Pool;
    if (current.compare_exchange_strong(pool, fresh)) return *fresh;
    delete fresh;  // another thread was faster
    return *pool;
  }

  /// Calls `helpers` workers to the job. `keep`: they wait there, so others are to be had for what computes.
  void invite(const std::shared_ptr<Job>& job, int helpers, bool keep) {
    {
      const std::lock_guard lock(mutex_);
      int& count = keep ? kept_ : shared_;
      count = keep ? count + helpers : std::max(count, helpers);
      const int wanted = std::min(shared_ + kept_, kMostWorkers);
      try {
        while (workers_ < wanted) {
          std::thread(&Pool::serve, this).detach();
          ++workers_;
        }
      } catch (const std::system_error&) {
        // No thread to be had: those there are do the work, the caller at least.
      }
      for (int i = 0; i < helpers; ++i) invitations_.push_back(job);
    }
    if (helpers == 1) {
      wake_.notify_one();
    } else {
      wake_.notify_all();
    }
  }

  /// Ends what `invite` with `keep` began.
  void give_back(int helpers) {
    const std::lock_guard lock(mutex_);
    kept_ -= helpers;
  }

 private:
  static constexpr int kMostWorkers = 256;

  [[noreturn]] void serve() {
    for (;;) {
      std::shared_ptr<Job> job;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return !invitations_.empty(); });
        job = std::move(invitations_.front());
        invitations_.pop_front();
      }
      {
        const std::lock_guard lock(job->mutex);
        if (job->closed) continue;
        ++job->helpers;
      }
      job->work();
      {
        const std::lock_guard lock(job->mutex);
        --job->helpers;
      }
      job->idle.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::shared_ptr<Job>> invitations_;
  int workers_ = 0;
  int shared_ = 0;  // the most that one parallel_for asked for
  int kept_ = 0;    // by all side_by_side that run
};

void run_job(std::size_t count, std::size_t threads, bool keep, const std::function<void(std::size_t)>& body) {
  const auto job = std::make_shared<Job>(count, body);
  const int helpers = static_cast<int>(threads) - 1;
  Pool::instance().invite(job, helpers, keep);
  job->work();
  std::exception_ptr error;
  {
    std::unique_lock lock(job->mutex);
    job->closed = true;
    job->idle.wait(lock, [&] { return job->helpers == 0; });
    error = std::exchange(job->error, nullptr);  // this thread's alone: late helpers still hold the job
  }
  if (keep) Pool::instance().give_back(helpers);
  if (error != nullptr) std::rethrow_exception(error);
}

}  // namespace

int usable_cores() noexcept {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void parallel_for(std::size_t count, int threads, const std::function<void(std::size_t)>& body) {
  if (count == 0) return;
  if (count == 1 || threads <= 1) {
    for (std::size_t i = 0; i < count; ++i) body(i);
    return;
  }
  run_job(count, std::min(count, static_cast<std::size_t>(threads)), false, body);
}

void side_by_side(std::size_t count, const std::function<void(std::size_t)>& body) {
  if (count <= 1) return parallel_for(count, 1, body);
  run_job(count, count, true, body);
}

}  // namespace navit_edge

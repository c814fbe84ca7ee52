#include "base/thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace navit_edge {
namespace {

using Body = FunctionRef<void(std::size_t, std::size_t)>;

/// One parallel_for, on the caller's stack. Whoever has a free hand claims the next index; the caller never waits for a
/// worker that has not started, so a busy pool costs speed and cannot cause a deadlock.
struct Job {
  Job(std::size_t n, Body f) : count(n), body(f) {}

  void work(std::size_t worker) noexcept {
    for (;;) {
      const std::size_t index = next.fetch_add(1, std::memory_order_relaxed);
      if (index >= count) return;
      try {
        body(index, worker);
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
  const Body body;
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::condition_variable idle;
  int helpers = 0;  // workers that are in work() or on their way there; guarded by mutex
  std::exception_ptr error;
  std::size_t error_index = 0;

  // Guarded by the pool's mutex.
  int invited = 0;          // workers that may still come
  std::size_t came = 0;     // those that came
  Job* next_job = nullptr;  // in the pool's queue
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

  /// Calls `helpers` workers to the job.
  void invite(Job& job, int helpers) {
    {
      const std::lock_guard lock(mutex_);
      const int wanted = std::min(helpers, kMostWorkers);
      try {
        while (workers_ < wanted) {
          std::thread(&Pool::serve, this).detach();
          ++workers_;
        }
      } catch (const std::system_error&) {
        // No thread to be had: those there are do the work, the caller at least.
      }
      job.invited = helpers;
      *end_ = &job;
      end_ = &job.next_job;
    }
    if (helpers == 1) {
      wake_.notify_one();
    } else {
      wake_.notify_all();
    }
  }

  /// No further worker comes to the job.
  void close(Job& job) {
    const std::lock_guard lock(mutex_);
    if (job.invited > 0) unlink(job);
  }

 private:
  static constexpr int kMostWorkers = 256;

  [[noreturn]] void serve() {
    for (;;) {
      Job* job = nullptr;
      std::size_t worker = 0;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return first_ != nullptr; });
        job = first_;
        worker = ++job->came;
        if (--job->invited == 0) unlink(*job);
        const std::lock_guard in_job(job->mutex);  // before the job can be closed: its caller then waits for this one
        ++job->helpers;
      }
      job->work(worker);
      const std::lock_guard lock(job->mutex);
      --job->helpers;
      job->idle.notify_one();  // under the mutex: once it is free, the job may be gone
    }
  }

  void unlink(Job& job) {
    Job** link = &first_;
    while (*link != &job) link = &(*link)->next_job;
    *link = job.next_job;
    if (end_ == &job.next_job) end_ = link;
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  Job* first_ = nullptr;  // jobs that workers may still come to, the earliest first: a list through the jobs themselves
  Job** end_ = &first_;
  int workers_ = 0;
};

}  // namespace

void parallel_for(std::size_t count, int threads, FunctionRef<void(std::size_t, std::size_t)> body) {
  if (count == 0) return;
  if (count == 1 || threads <= 1) {
    for (std::size_t i = 0; i < count; ++i) body(i, 0);
    return;
  }
  Job job(count, body);
  Pool::instance().invite(job, static_cast<int>(std::min(count, static_cast<std::size_t>(threads))) - 1);
  job.work(0);
  Pool::instance().close(job);
  {
    std::unique_lock lock(job.mutex);
    job.idle.wait(lock, [&] { return job.helpers == 0; });
  }
  if (job.error != nullptr) std::rethrow_exception(std::move(job.error));
}

}  // namespace navit_edge

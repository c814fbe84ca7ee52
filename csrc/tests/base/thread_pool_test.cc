#include "base/thread_pool.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support/check.h"

using navit_edge::parallel_for;

namespace {

/// Waits for the others: true where `count` threads came within ten seconds.
class Meeting {
 public:
  explicit Meeting(int count) : count_(count) {}
  bool come() {
    ++came_;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (came_ < count_ && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    return came_ >= count_;
  }

 private:
  const int count_;
  std::atomic<int> came_{0};
};

}  // namespace

TEST_CASE("every index is called once, whatever the number of threads") {
  for (const int threads : {1, 2, 3, 8}) {
    for (const std::size_t count : {0U, 1U, 2U, 7U, 500U}) {
      std::vector<std::atomic<int>> calls(count);
      parallel_for(count, threads, [&](std::size_t i) { ++calls[i]; });
      for (const auto& one : calls) CHECK(one == 1);
    }
  }
}

TEST_CASE("the lowest failing index is the one that is reported, after all began ones ended") {
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> inside{0};
    try {
      parallel_for(64, 4, [&](std::size_t i) {
        ++inside;
        if (i >= 3) {
          --inside;
          throw std::runtime_error("index " + std::to_string(i));
        }
        std::this_thread::yield();
        --inside;
      });
      CHECK(false);
    } catch (const std::runtime_error& e) {
      CHECK(std::string(e.what()) == "index 3");
    }
    CHECK(inside == 0);
  }
}

TEST_CASE("calls from many threads at once and from inside of a call do not wait for each other") {
  std::atomic<int> sum{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 8; ++c) {
    callers.emplace_back([&] {
      for (int round = 0; round < 20; ++round) {
        parallel_for(4, 3, [&](std::size_t) { parallel_for(5, 2, [&](std::size_t) { ++sum; }); });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(sum == 8 * 20 * 4 * 5);
}

TEST_CASE("a forked child has workers of its own, also where the parent's were busy") {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  // The thread sanitizer starts no threads in the child of a process with threads, and the allocator of the address
  // sanitizer does not let go of its locks at a fork.
  return;
#else
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop) parallel_for(16, 3, [](std::size_t) { std::this_thread::yield(); });
  });
  int ended_well = 0;
  for (int round = 0; round < 20; ++round) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);  // what hangs ends by this
      std::atomic<int> sum{0};
      Meeting meeting(2);
      std::atomic<int> met{0};
      parallel_for(100, 3, [&](std::size_t) { ++sum; });
      parallel_for(2, 2, [&](std::size_t) { met += meeting.come() ? 1 : 0; });
      ::_exit(sum == 100 && met == 2 ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ended_well += WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 1 : 0;
  }
  stop = true;
  busy.join();
  CHECK(ended_well == 20);
#endif
}

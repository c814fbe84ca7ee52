#include "base/fork_guard.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>

#include "navit_edge/error.h"

namespace navit_edge {
namespace {

std::atomic<std::uint32_t> generation{0};

/// Before anything of the library can be used, so that no fork is missed.
[[maybe_unused]] const int registered =
    ::pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });

}  // namespace

std::uint32_t fork_generation() noexcept { return generation.load(std::memory_order_relaxed); }

ProcessMark::ProcessMark() : generation_(fork_generation()), process_(::getpid()) {}

void ProcessMark::refuse(const char* what) const {
  throw BackendError(std::string(what) + " was opened in process " + std::to_string(process_) +
                     " and is used in its forked child " + std::to_string(::getpid()) +
                     ", where its threads do not exist; open it after the fork, or use the spawn start method");
}

}  // namespace navit_edge

// Worker threads of the process, shared by every session.
#pragma once

#include <concepts>
#include <cstddef>

#include "base/function_ref.h"

namespace navit_edge {

/// Calls `body(index, worker)` for every index below `count`, on up to `threads` threads, the caller's among them.
/// `worker` is below the number of threads and belongs to one thread at a time, 0 to the caller. Returns when all begun
/// calls have returned. After an exception no further index is begun, and that of the lowest index that threw is
/// rethrown. May be called from several threads at once. With `threads` 1 no other thread is touched. Allocates nothing
/// once the pool has its workers.
void parallel_for(std::size_t count, int threads, FunctionRef<void(std::size_t index, std::size_t worker)> body);

/// The same for a body that does not ask which worker it runs on.
template <std::invocable<std::size_t> Body>
void parallel_for(std::size_t count, int threads, Body&& body) {
  parallel_for(count, threads, [&](std::size_t index, std::size_t) { body(index); });
}

}  // namespace navit_edge

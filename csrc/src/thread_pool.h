// Worker threads of the process, shared by every session.
#pragma once

#include <cstddef>
#include <functional>

namespace navit_edge {

/// CPU cores the process may use (its affinity mask), at least 1.
int usable_cores() noexcept;

/// Calls `body(index)` for every index below `count`, on up to `threads` threads, the caller's among them. Returns when
/// all begun calls have returned. After an exception no further index is begun, and that of the lowest index that threw
/// is rethrown. May be called from several threads at once. With `threads` 1 no other thread is touched.
void parallel_for(std::size_t count, int threads, const std::function<void(std::size_t)>& body);

/// The same with a thread for each index, for bodies that mostly wait: the pool grows by the workers they keep, so that
/// a parallel_for inside of a body has the threads it would have outside.
void side_by_side(std::size_t count, const std::function<void(std::size_t)>& body);

}  // namespace navit_edge

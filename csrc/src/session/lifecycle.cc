#include "session/lifecycle.h"

#include <algorithm>
#include <utility>

namespace navit_edge {
namespace {

thread_local const Lifecycle* lifecycle_of_thread = nullptr;

}  // namespace

bool Lifecycle::on_own_thread() const noexcept { return lifecycle_of_thread == this; }

std::size_t Lifecycle::start(std::shared_ptr<const void> owner, std::function<void()> body) {
  const std::lock_guard joining(joining_);
  threads_.emplace_back([this, owner = std::move(owner), body = std::move(body)] {
    lifecycle_of_thread = this;
    body();
  });
  return threads_.size() - 1;
}

bool Lifecycle::join(std::mutex& mutex) {
  const std::lock_guard joining(joining_);
  {
    Lock lock(mutex);
    changed_.wait(lock, [&] { return over(); });
  }
  for (std::size_t i = 0; i < threads_.size(); ++i) {
    if (!threads_[i].joinable()) continue;
    const bool stays = std::find(left_behind_.begin(), left_behind_.end(), i) != left_behind_.end();
    stays ? threads_[i].detach() : threads_[i].join();
  }
  return left_behind_.empty();
}

void Lifecycle::detach() {
  const std::lock_guard joining(joining_);
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.detach();
  }
}

}  // namespace navit_edge

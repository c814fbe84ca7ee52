#include "session/submissions.h"

#include <new>
#include <utility>

#include "session/wait.h"

namespace navit_edge {

bool Submissions::has_place(std::int32_t priority, std::uint64_t bytes) const {
  return completions_->size() < most_completed_ && queue_.places().room_for(priority, bytes);
}

bool Submissions::enter(std::int32_t priority, std::uint64_t bytes, bool in_any_case) {
  if (!in_any_case && !has_place(priority, bytes)) return false;
  queue_.places().enter(priority, bytes);
  return true;
}

/// Nobody who comes later takes a place away: who finds somebody waiting finds no place.
void Submissions::let_in() noexcept {
  for (Submitter* one : submitters_) {
    if (one->let_in || !has_place(one->priority, one->bytes)) continue;
    try {
      queue_.places().enter(one->priority, one->bytes);
    } catch (const std::bad_alloc&) {  // at the next occasion: this may be a worker
      return;
    }
    one->let_in = true;
    one->changed.notify_one();
  }
}

bool Submissions::wait_for_place(Lock& lock, std::int32_t priority, std::uint64_t bytes, const WaitOptions& wait,
                                 FunctionRef<bool()> over) {
  Submitter self{priority, bytes};
  submitters_.push_back(&self);
  const auto give_up = [&] {
    std::erase(submitters_, &self);
    if (self.let_in) leave(priority, bytes);
  };
  try {
    wait_for(self.changed, lock, wait, [&] { return self.let_in || over(); });
  } catch (...) {
    give_up();
    throw;
  }
  if (over()) {
    give_up();
    return false;
  }
  std::erase(submitters_, &self);
  return self.let_in;
}

void Submissions::leave(std::int32_t priority, std::uint64_t bytes) noexcept {
  queue_.places().leave(priority, bytes);
  let_in();
}

void Submissions::wake_submitters() noexcept {
  for (Submitter* one : submitters_) one->changed.notify_one();
}

void Submissions::begun(PendingImage& image) noexcept {
  image.epoch = epoch_;
  ++outstanding_;
}

void Submissions::finished(PendingImage* first, std::size_t count) noexcept {
  outstanding_ -= count;
  while (first != nullptr) {
    PendingImage* const image = std::exchange(first, first->behind);
    for (DrainCall* call : drains_) {
      if (image->epoch <= call->epoch && call->left > 0) --call->left;
    }
    queue_.recycle(*image);
  }
  let_in();
  drained_.notify_all();
}

bool Submissions::drain(Lock& lock, const WaitOptions& wait) {
  DrainCall call{epoch_++, outstanding_};
  drains_.push_back(&call);
  try {
    const bool all = wait_for(drained_, lock, wait, [&] { return call.left == 0; });
    std::erase(drains_, &call);
    return all;
  } catch (...) {
    std::erase(drains_, &call);
    throw;
  }
}

}  // namespace navit_edge

// Images one by one: how they come in, wait for a place, are taken back and waited for.
#include <algorithm>
#include <new>
#include <utility>

#include "navit_edge/error.h"
#include "navit_edge/option_range.h"
#include "pixels/image_check.h"
#include "session/room.h"
#include "session/wait.h"

namespace navit_edge {

bool Room::room_for(std::int32_t priority, std::uint64_t bytes) const {
  // What callbacks have not taken yet counts too, once it is more than a queue and two packs: they slow down who
  // submits.
  const std::size_t most =
      opened_.options.queue_limit + 2 * static_cast<std::size_t>(opened_.limits.budgets.back().images);
  return outbox_.size() < most && queue_.places().room_for(priority, bytes);
}

/// Whoever waits for a place and can have one gets it, in the order in which they came. So nobody who comes later takes
/// it away: who finds somebody waiting finds no room.
void Room::let_in() {
  for (Submitter* one : submitters_) {
    if (one->let_in || !room_for(one->priority, one->bytes)) continue;
    try {
      queue_.places().enter(one->priority, one->bytes);
    } catch (const std::bad_alloc&) {  // at the next occasion: this may be a lane
      return;
    }
    one->let_in = true;
    one->changed.notify_one();
  }
}

/// Takes a place for an image; false where there was none in time.
bool Room::take_place(Lock& lock, std::int32_t priority, std::uint64_t bytes, const WaitOptions& wait) {
  const bool waits_for_itself = on_own_thread();  // room may need its callback to return
  if (room_for(priority, bytes) || (waits_for_itself && wait.timeout_us == kForEver)) {
    queue_.places().enter(priority, bytes);
    return true;
  }
  if (waits_for_itself || !(wait.timeout_us > 0)) return false;
  Submitter self{priority, bytes};
  submitters_.push_back(&self);
  const auto give_up = [&] {
    std::erase(submitters_, &self);
    if (!self.let_in) return;
    queue_.places().leave(priority, bytes);
    let_in();
  };
  wake_lanes();  // where somebody waits for a place, nobody waits for company
  try {
    wait_for(self.changed, lock, wait, [&] { return self.let_in || closing_ || breaker_.broken(); });
    refuse_where_over();
  } catch (...) {
    give_up();
    throw;
  }
  std::erase(submitters_, &self);
  return self.let_in;
}

std::optional<std::uint64_t> Room::submit(OwnedImage& image, const SubmitOptions& options, Done done,
                                          const WaitOptions& wait) {
  if (done == nullptr) throw InvalidInput("submit was given an empty callback; expected one that takes the result");
  check_option("deadline_us", options.deadline_us);
  check_option("timeout_us", wait.timeout_us);
  const Clock::time_point now = Clock::now();
  const std::uint64_t id = ++last_id_;
  Result result;
  result.image = image.view.size();
  result.id = id;
  result.tag = options.tag;
  double share_us = 0;
  try {
    const Policy& policy = policy_of(options.policy);
    size_image(image.view, id, policy, load_for(policy, 1), result);
    share_us = batcher_.share_us(result.tokens);
  } catch (const Error&) {
    result.error = std::current_exception();
  }
  const std::uint64_t bytes = result.error == nullptr ? bytes_of(image.view) : 0;

  Lock lock(mutex_);
  refuse_where_over();
  if (!take_place(lock, options.priority, bytes, wait)) return std::nullopt;
  Waiting* waiting = nullptr;
  try {
    waiting = &queue_.blank();
    waiting->id = id;
    waiting->priority = options.priority;
    waiting->bytes = bytes;
    waiting->deadline = options.deadline_us > 0 ? after(now, options.deadline_us) : Clock::time_point::max();
    waiting->due = waiting->deadline;
    waiting->submitted = now;
    waiting->epoch = epoch_;
    waiting->share_us = share_us;
    waiting->image = std::move(image);
    waiting->result = std::move(result);
    waiting->done = std::move(done);
    if (waiting->result.error == nullptr) queue_.push(*waiting);
  } catch (...) {  // memory has run out: it is the caller's, as if it had not been submitted
    if (waiting != nullptr) {
      image = std::move(waiting->image);
      waiting->result = {};
      waiting->done = nullptr;
      queue_.recycle(*waiting);
    }
    queue_.places().leave(options.priority, bytes);
    let_in();
    throw;
  }
  ++outstanding_;
  recorder_.submitted();
  if (waiting->result.error != nullptr) {
    queue_.places().leave(options.priority, bytes);
    let_in();
    recorder_.failed(id, code_of(waiting->result.error), now, Clock::now(), true);
    finish(*waiting);
  } else {
    wake_lanes();
  }
  return id;
}

void Room::finish(Waiting& image) { outbox_.put(image); }

bool Room::cancel(std::uint64_t id) {
  const Lock lock(mutex_);
  Waiting* const image = queue_.find(id);
  if (image == nullptr) return false;
  const auto error = std::make_exception_ptr(Cancelled("image " + std::to_string(id) + " was cancelled"));
  queue_.remove(*image);
  image->result.error = error;
  recorder_.cancelled(id, image->submitted, Clock::now());
  finish(*image);
  let_in();
  return true;
}

bool Room::drain(const WaitOptions& wait) {
  check_option("timeout_us", wait.timeout_us);
  if (on_own_thread()) {
    throw InvalidInput(
        "drain was called from a callback: it would wait for ever, for the callback itself; call it from another "
        "thread");
  }
  Lock lock(mutex_);
  DrainCall call{epoch_++, outstanding_};
  drains_.push_back(&call);
  wake_lanes();  // nobody waits for company any more
  try {
    const bool all = wait_for(drained_, lock, wait, [&] { return call.left == 0; });
    std::erase(drains_, &call);
    return all;
  } catch (...) {
    std::erase(drains_, &call);
    throw;
  }
}

void Room::take_back(Waiting* first, std::size_t count) {
  {
    const Lock lock(mutex_);
    outstanding_ -= count;
    while (first != nullptr) {
      Waiting* const image = std::exchange(first, first->behind);
      for (DrainCall* call : drains_) {
        if (image->epoch <= call->epoch && call->left > 0) --call->left;
      }
      queue_.recycle(*image);
    }
    let_in();
  }
  drained_.notify_all();
}

}  // namespace navit_edge

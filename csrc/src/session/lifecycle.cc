// The threads of a room: how they start, and how they are left.
#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

#include "navit_edge/error.h"
#include "session/room.h"

namespace navit_edge {
namespace {

thread_local const Room* own_room = nullptr;

}  // namespace

bool Room::on_own_thread() const noexcept { return own_room == this; }

void Room::start() {
  const auto lanes = static_cast<std::size_t>(slots());
  for (std::size_t i = 0; i < lanes; ++i) lanes_.emplace_back(opened_);
  slot_taken_.resize(lanes);
  const auto thread = [self = shared_from_this()](auto body) {
    return std::thread([self, body] {
      own_room = self.get();
      body(*self);
    });
  };
  try {
    outbox_thread_ = thread([](Room& room) {
      room.outbox_.serve([&](Waiting* first, std::size_t count) { room.take_back(first, count); });
    });
    if (opened_.options.stall_timeout_s > 0) watchdog_thread_ = thread([](Room& room) { room.watch(); });
    for (Lane& lane : lanes_) lane_threads_.push_back(thread([&lane](Room& room) { room.serve(lane); }));
  } catch (const std::system_error& e) {
    {
      const Lock lock(mutex_);
      for (std::size_t i = lane_threads_.size(); i < lanes_.size(); ++i) lanes_[i].exited = true;
      lane_has_gone();
    }
    close();
    throw BackendError("the session cannot start its " + std::to_string(lanes + 2) + " threads: " + e.what() +
                       "; raise the limit on threads of the process, or ask for fewer slots");
  }
}

void Room::begin_close() {
  const auto error = std::make_exception_ptr(Cancelled("the session was closed before this image was run"));
  const Lock lock(mutex_);
  if (std::exchange(closing_, true)) return;
  fail_waiting(error);
  work_.notify_all();
  lane_has_gone();
}

bool Room::lanes_gone() const {
  for (const Lane& lane : lanes_) {
    if (!lane.exited && !lane.abandoned) return false;
  }
  return true;
}

/// Under the lock. Nothing is put into the outbox once the last lane has gone.
void Room::lane_has_gone() {
  gone_.notify_all();
  if (closing_ && lanes_gone()) outbox_.finish();
}

void Room::close() {
  begin_close();
  if (on_own_thread()) return;
  const std::lock_guard joining(joining_);
  {
    Lock lock(mutex_);
    gone_.wait(lock, [&] { return lanes_gone(); });
  }
  for (std::size_t i = 0; i < lane_threads_.size(); ++i) {
    if (!lane_threads_[i].joinable()) continue;
    lanes_[i].abandoned ? lane_threads_[i].detach() : lane_threads_[i].join();
  }
  if (watchdog_thread_.joinable()) watchdog_thread_.join();
  if (outbox_thread_.joinable()) outbox_thread_.join();
  let_engines_go();
}

/// Gives back what the engines hold of the device, where nobody is in one any more.
void Room::let_engines_go() {
  if (std::any_of(lanes_.begin(), lanes_.end(), [](const Lane& lane) { return lane.abandoned; })) return;
  std::string last;
  try {
    last = report();
  } catch (const Error&) {
    last = "{}";
  }
  const std::lock_guard lock(engines_mutex_);
  report_at_close_ = std::move(last);
  engines_.reset();
  paired_.reset();
}

void Room::leave() {
  if (!on_own_thread()) return close();
  begin_close();
  const std::lock_guard joining(joining_);
  for (std::thread& thread : lane_threads_) {
    if (thread.joinable()) thread.detach();
  }
  if (watchdog_thread_.joinable()) watchdog_thread_.detach();
  if (outbox_thread_.joinable()) outbox_thread_.detach();
}

}  // namespace navit_edge

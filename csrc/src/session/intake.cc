#include "session/intake.h"

#include <new>
#include <utility>

#include "navit_edge/error.h"
#include "navit_edge/option_range.h"
#include "session/session_core.h"
#include "session/submit_call.h"

namespace navit_edge {
namespace {

void check_submission(const SubmitOptions& options, const Done& done, const WaitOptions& wait) {
  if (done == nullptr) throw InvalidInput("submit was given an empty callback; expected one that takes the result");
  check_option("deadline_us", options.deadline_us);
  check_option("timeout_us", wait.timeout_us);
  check_option("spent_us", options.spent_us);
}

}  // namespace

bool Intake::take_place(Lock& lock, std::int32_t priority, std::uint64_t bytes, const WaitOptions& wait) {
  const bool in_callback = core_.lifecycle_.on_own_thread();  // a place may need it to return
  if (core_.submissions_.enter(priority, bytes, in_callback && wait.timeout_us == kForEver)) return true;
  if (in_callback || !(wait.timeout_us > 0)) return false;
  core_.wake_workers();  // while somebody waits for a place, images do not wait for company
  const bool placed = core_.submissions_.wait_for_place(lock, priority, bytes, wait, [&] { return core_.over(); });
  core_.refuse_if_over();
  return placed;
}

std::optional<std::uint64_t> Intake::submit(OwnedImage& image, const SubmitOptions& options, Done done,
                                            const WaitOptions& wait) {
  check_submission(options, done, wait);
  SubmitCall call(++core_.last_id_, options, core_.memory_ ? &*core_.memory_ : nullptr);
  const Policy& policy = core_.context_.policy_of(options.policy);
  call.size(core_.context_, image.view, policy, core_.load_for(policy, {&image.view, 1}, options.spent_us),
            core_.scheduler_);

  Lock lock(core_.mutex_);
  core_.refuse_if_over();
  const bool takes_place = !call.recall() || !core_.submissions_.takes_results();
  if (takes_place) {
    if (!take_place(lock, options.priority, call.bytes, wait)) return std::nullopt;
    call.recall();  // what has come meanwhile
  }
  PendingImage* pending = nullptr;
  const bool waits = call.waits();
  try {
    pending = &core_.submissions_.queue().blank();
    call.fill(*pending, image, done);
    if (waits) call.count(core_.twins_.join(*pending));
  } catch (...) {  // memory has run out: it is the caller's, as if it had not been submitted
    if (pending != nullptr) {
      image = std::move(pending->image);
      pending->clear();
      core_.submissions_.queue().recycle(*pending);
    }
    if (takes_place) core_.submissions_.leave(options.priority, call.bytes);
    throw;
  }
  core_.submissions_.begun(*pending);
  core_.observer_.submitted();
  if (waits) {
    core_.wake_workers();
  } else {
    if (takes_place) core_.submissions_.leave(options.priority, call.bytes);
    core_.observer_.recalled(*pending);
    core_.completions_.put(*pending);
  }
  return call.id;
}

std::optional<std::uint64_t> Intake::submit(std::shared_ptr<ImageSource>& source, const SubmitOptions& options,
                                            Done done, const WaitOptions& wait) {
  check_submission(options, done, wait);
  if (source == nullptr) throw InvalidInput("submit was given no image source; expected one, as file_source(path)");
  const std::uint64_t id = ++core_.last_id_;
  const std::uint64_t bytes = source->held_bytes();
  const Clock::time_point now = Clock::now();

  Lock lock(core_.mutex_);
  core_.refuse_if_over();
  if (!take_place(lock, options.priority, bytes, wait)) return std::nullopt;
  PendingImage* pending = nullptr;
  try {
    pending = &core_.submissions_.queue().blank();
    fill_undecoded(*pending, id, options, core_.context_.policy_of(options.policy), bytes, now);
    core_.decoding_.push(*pending, source, options);
  } catch (...) {  // memory has run out
    if (pending != nullptr) {
      pending->clear();
      core_.submissions_.queue().recycle(*pending);
    }
    core_.submissions_.leave(options.priority, bytes);
    throw;
  }
  pending->done = std::move(done);
  core_.submissions_.begun(*pending);
  core_.observer_.submitted();
  return id;
}

void Intake::admit(Decoding::Turn& turn, Decoding::Decoded& decoded) {
  SubmitCall call(decoded.id, decoded.options, core_.memory_ ? &*core_.memory_ : nullptr, decoded.submitted);
  if (decoded.is_image()) {
    try {
      const Policy& policy = core_.context_.policy_of(decoded.options.policy);
      const Load load = core_.load_for(policy, {&decoded.image.view, 1}, call.spent_us());
      call.size(core_.context_, decoded.image.view, policy, load, core_.scheduler_);
    } catch (const std::bad_alloc&) {
      decoded.error = std::current_exception();
    }
  }
  const Lock lock(core_.mutex_);
  PendingImage* const image = std::exchange(turn.image, nullptr);
  if (image == nullptr) return;  // it was taken back
  Places& places = core_.submissions_.queue().places();
  places.leave(image->priority, image->bytes);
  if (decoded.is_image()) {
    call.recall();
    const bool waits = call.waits();
    if (waits) places.enter(image->priority, call.bytes);  // whether there is room or not: PixelRoom had some
    Done done = std::move(image->done);
    try {
      call.fill(*image, decoded.image, done);
      if (waits) {
        call.count(core_.twins_.join(*image));
        core_.wake_workers();
        return core_.submissions_.let_in();
      }
    } catch (const std::bad_alloc&) {
      if (done) image->done = std::move(done);
      if (waits) places.leave(image->priority, call.bytes);
      image->result.error = std::current_exception();
    }
  } else if (decoded.error != nullptr) {
    image->result.error = decoded.error;
  } else {
    decoded.known->id = decoded.id;
    decoded.known->tag = decoded.options.tag;
    decoded.known->queue_us = microseconds_since(decoded.submitted);
    image->result = std::move(*decoded.known);
  }
  core_.observer_.recalled(*image);
  core_.completions_.put(*image);
  core_.submissions_.let_in();
}

}  // namespace navit_edge

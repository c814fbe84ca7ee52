#include "session/submit_call.h"

#include <utility>

#include "navit_edge/error.h"
#include "pixels/image_check.h"

namespace navit_edge {

void SubmitCall::size(const SessionContext& context, const ImageView& image, const Policy& policy, const Load& load,
                      const Scheduler& scheduler) {
  result_.image = image.image_size();
  result_.id = id;
  result_.tag = options_->tag;
  try {
    promise_ = {policy.without_drop(), options_->spent_us, 0, microseconds(ready_ - submitted_)};
    promise_.expected_us = context.size_image(image, id, policy, load, result_);
    share_us_ = scheduler.share_us(result_.tokens);
    bytes = bytes_of(image);
    if (memory_ == nullptr) return;
    key_ = memory_->key_of(image, result_, policy, options_->content, context.threads);
  } catch (const Error&) {
    result_.error = std::current_exception();
  }
}

void fill_undecoded(PendingImage& pending, std::uint64_t id, const SubmitOptions& options, const Policy& policy,
                    std::uint64_t bytes, Clock::time_point now) {
  pending.id = id;
  pending.priority = options.priority;
  pending.bytes = bytes;
  pending.deadline = options.deadline_us > 0 ? after(now, options.deadline_us) : Clock::time_point::max();
  pending.submitted = pending.waits_since = now;
  pending.promise = {policy.without_drop(), options.spent_us, 0, 0};
  pending.due = pending.wanted();
  pending.read_again = false;
  pending.result.id = id;
  pending.result.tag = options.tag;
}

bool SubmitCall::recall() {
  if (!known_ && key_) known_ = memory_->results().recall(*key_, result_);
  return known_;
}

void SubmitCall::fill(PendingImage& pending, OwnedImage& image, Done& done) {
  const bool is_to_wait = waits();
  pending.id = id;
  pending.priority = options_->priority;
  pending.bytes = bytes;
  pending.deadline = options_->deadline_us > 0 ? after(submitted_, options_->deadline_us) : Clock::time_point::max();
  pending.submitted = submitted_;
  pending.waits_since = ready_;
  pending.promise = promise_;
  pending.due = pending.wanted();
  pending.read_again = result_.reason.step == CascadeStep::kFirst;
  pending.share_us = share_us_;
  pending.failed_on = -1;
  pending.image = std::move(image);
  pending.result = std::move(result_);
  if (known_) pending.result.queue_us = microseconds_since(submitted_);
  pending.done = std::move(done);
  if (!is_to_wait) return;
  pending.key = key_;
  if (key_ && options_->content) pending.note = options_->content->note;
}

void SubmitCall::count(bool follows) noexcept {
  if (!key_) return;
  if (follows) {
    memory_->results().count_coalesced();
  } else {
    memory_->results().count_miss();
  }
}

}  // namespace navit_edge

// What the recorder is told of packs and their images (docs/metrics.md).
#include <utility>

#include "metrics/recorder.h"
#include "navit_edge/error.h"
#include "session/room.h"

namespace navit_edge {
ErrorCode code_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return e.code();
  } catch (...) {
    return ErrorCode::kCancelled;
  }
}

void Room::record_refused(ErrorCode code) noexcept {
  const Clock::time_point now = Clock::now();
  recorder_.submitted();
  recorder_.failed(++last_id_, code, now, now, true);
}

/// All images of a run, before its packs can begin; some have failed already.
void Room::record_taken(const RunJob& job) {
  recorder_.submitted(job.images.size());
  if (job.images_done == 0) return;
  const Clock::time_point now = Clock::now();
  for (std::size_t i = 0; i < job.results.size(); ++i) {
    if (job.results[i].error == nullptr) continue;
    recorder_.failed(job.first_id + i, code_of(job.results[i].error), job.start, now, true);
  }
}

/// A pack of a run that will not begin.
void Room::record_unrun(const RunJob& job, const PackPlan& pack, ErrorCode code) {
  const Clock::time_point now = Clock::now();
  for (const std::int32_t image : pack.images) {
    recorder_.failed(job.first_id + static_cast<std::size_t>(image), code, job.start, now, true);
  }
}

void Room::record_claim(Lane& lane, Clock::time_point now) {
  lane.claimed = now;
  lane.pack = recorder_.pack_begun(lane.task.plan->images.size());
}

void Room::record_queues(const Lane& lane) {
  if (lane.job == nullptr) {
    for (std::size_t i = 0; i < lane.batch.images.size(); ++i) {
      const Waiting& image = *lane.batch.images[i];
      recorder_.started(image.id, image.submitted, lane.claimed, lane.results[i].tokens, lane.pack);
    }
    return;
  }
  for (const std::int32_t image : lane.task.plan->images) {
    const auto i = static_cast<std::size_t>(image);
    recorder_.started(lane.job->first_id + i, lane.job->start, lane.claimed, lane.job->results[i].tokens, lane.pack);
  }
}

/// Before anybody learns of the results. `error` is the pack's; an image may have one of its own.
void Room::record_end(const Lane& lane, const std::exception_ptr& error) {
  const Clock::time_point now = Clock::now();
  const PackReport& report = lane.work.report();
  PackRecord pack;
  pack.number = lane.pack;
  pack.slot = lane.slot;
  pack.images = static_cast<std::int32_t>(lane.task.plan->images.size());
  pack.tokens = lane.task.plan->tokens;
  if (lane.work.started() < lane.claimed) {  // it failed before it could start
    pack.start = pack.written = pack.ran = pack.done = now;
  } else {
    // A stage that was not reached, and one that failed, has no time yet. Of a pack whose engine does not come back
    // nothing is read that its thread might write.
    const bool stalled = lane.phase == Lane::Phase::kRunning;
    const double engine_us = stalled ? 0.0 : report.engine_us;
    pack.capacity = report.capacity;
    pack.start = lane.work.started();
    pack.written = report.preprocess_us > 0 ? pack.start + span_of(report.preprocess_us) : now;
    pack.ran = engine_us > 0 ? pack.written + span_of(engine_us) : now;
    pack.done = error == nullptr ? pack.ran + span_of(report.unpack_us) : now;
  }
  if (error == nullptr) {
    recorder_.pack_done(pack);
  } else {
    recorder_.pack_failed(pack, code_of(error));
  }
  const auto image_ended = [&](std::uint64_t id, Clock::time_point submitted, Clock::time_point deadline,
                               const Result& result) {
    const std::exception_ptr& cause = error != nullptr ? error : result.error;
    if (cause != nullptr) {
      recorder_.failed(id, code_of(cause), submitted, now, false);
    } else {
      recorder_.completed(id, submitted, now, deadline, result.reason.fewer_tokens());
    }
  };
  if (lane.job == nullptr) {
    for (const Waiting* image : lane.batch.images) {
      image_ended(image->id, image->submitted, image->deadline, image->result);
    }
    return;
  }
  for (const std::int32_t image : lane.task.plan->images) {
    const auto i = static_cast<std::size_t>(image);
    image_ended(lane.job->first_id + i, lane.job->start, Clock::time_point::max(), lane.job->results[i]);
  }
}

Metrics Room::metrics() const {
  Metrics all = recorder_.metrics();
  all.slots = slots();
  all.callback_errors = outbox_.threw();
  return all;
}

}  // namespace navit_edge

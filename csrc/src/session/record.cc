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

void SessionCore::record_refused(ErrorCode code) noexcept {
  const Clock::time_point now = Clock::now();
  recorder_.submitted();
  recorder_.failed(++last_id_, code, now, now, true);
}

/// All images of a run, before its packs can begin; some have failed already.
void SessionCore::record_taken(const RunJob& job) {
  recorder_.submitted(job.images.size());
  if (job.images_done == 0) return;
  const Clock::time_point now = Clock::now();
  for (std::size_t i = 0; i < job.results.size(); ++i) {
    if (job.results[i].error == nullptr) continue;
    recorder_.failed(job.first_id + i, code_of(job.results[i].error), job.start, now, true);
  }
}

/// A pack of a run that will not begin.
void SessionCore::record_unrun(const RunJob& job, const PackPlan& pack, ErrorCode code) {
  const Clock::time_point now = Clock::now();
  for (const std::int32_t image : pack.images) {
    recorder_.failed(job.first_id + static_cast<std::size_t>(image), code, job.start, now, true);
  }
}

void SessionCore::record_claim(Worker& worker, Clock::time_point now) {
  worker.claimed = now;
  worker.pack = recorder_.pack_begun(worker.task.plan->images.size());
}

void SessionCore::record_queues(const Worker& worker) {
  if (worker.job == nullptr) {
    for (std::size_t i = 0; i < worker.batch.images.size(); ++i) {
      const PendingImage& image = *worker.batch.images[i];
      recorder_.started(image.id, image.submitted, worker.claimed, worker.results[i].tokens, worker.pack);
    }
    return;
  }
  for (const std::int32_t image : worker.task.plan->images) {
    const auto i = static_cast<std::size_t>(image);
    recorder_.started(worker.job->first_id + i, worker.job->start, worker.claimed, worker.job->results[i].tokens,
                      worker.pack);
  }
}

/// Before anybody learns of the results. `error` is the pack's; an image may have one of its own.
void SessionCore::record_end(const Worker& worker, const std::exception_ptr& error) {
  const Clock::time_point now = Clock::now();
  const PackReport& report = worker.runner.report();
  PackRecord pack;
  pack.number = worker.pack;
  pack.slot = worker.slot;
  pack.images = static_cast<std::int32_t>(worker.task.plan->images.size());
  pack.tokens = worker.task.plan->tokens;
  if (worker.runner.started() < worker.claimed) {  // it failed before it could start
    pack.start = pack.written = pack.ran = pack.done = now;
  } else {
    // A stage that was not reached, and one that failed, has no time yet. Of a pack whose engine does not come back
    // nothing is read that its thread might write.
    const bool stalled = worker.phase == Worker::Phase::kRunning;
    const double engine_us = stalled ? 0.0 : report.engine_us;
    pack.capacity = report.capacity;
    pack.start = worker.runner.started();
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
  if (worker.job == nullptr) {
    for (const PendingImage* image : worker.batch.images) {
      image_ended(image->id, image->submitted, image->deadline, image->result);
    }
    return;
  }
  for (const std::int32_t image : worker.task.plan->images) {
    const auto i = static_cast<std::size_t>(image);
    image_ended(worker.job->first_id + i, worker.job->start, Clock::time_point::max(), worker.job->results[i]);
  }
}

Metrics SessionCore::metrics() const {
  Metrics all = recorder_.metrics();
  all.slots = slots();
  all.callback_errors = completions_.threw();
  return all;
}

}  // namespace navit_edge

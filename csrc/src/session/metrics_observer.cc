#include "session/metrics_observer.h"

#include "navit_edge/error.h"
#include "session/cascade.h"

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

void MetricsObserver::refused(std::uint64_t id, ErrorCode code) noexcept {
  const Clock::time_point now = Clock::now();
  recorder_.submitted();
  recorder_.failed(id, code, now, now, true);
}

void MetricsObserver::failed_waiting(const PendingImage& image, const std::exception_ptr& error) noexcept {
  recorder_.failed(image.id, code_of(error), image.submitted, Clock::now(), true);
}

void MetricsObserver::recalled(const PendingImage& image) noexcept {
  if (image.result.error != nullptr) return failed_waiting(image, image.result.error);
  if (image.promise.made()) recorder_.target(!(image.result.reason.missed_by_us > 0));
  recorder_.recalled(image.id, image.submitted, Clock::now(), image.deadline, image.result.reason.fewer_tokens());
}

void MetricsObserver::recalled(const Result& result, double deadline_us) noexcept {
  const Clock::time_point now = Clock::now();
  const Clock::time_point deadline = deadline_us > 0 ? after(now, deadline_us) : Clock::time_point::max();
  recorder_.submitted();
  recorder_.recalled(result.id, now, now, deadline, result.reason.fewer_tokens());
}

void MetricsObserver::recalled(const RunJob& job, std::size_t image) noexcept {
  const Result& result = job.results[image];
  const std::uint64_t id = job.first_id + image;
  const Clock::time_point now = Clock::now();
  if (result.error != nullptr) return recorder_.failed(id, code_of(result.error), job.start, now, true);
  if (job.promise.made()) recorder_.target(!(result.reason.missed_by_us > 0));
  recorder_.recalled(id, job.start, now, Clock::time_point::max(), result.reason.fewer_tokens());
}

void MetricsObserver::twins_ended(const RunJob& job, const PackPlan& pack) noexcept {
  for (const std::int32_t image : pack.images) {
    if (runs_again(job.results[static_cast<std::size_t>(image)])) continue;
    job.each_twin(static_cast<std::size_t>(image), [&](std::size_t twin) { recalled(job, twin); });
  }
}

void MetricsObserver::run_submitted(const RunJob& job) {
  recorder_.submitted(job.images.size());
  if (job.images_done == 0) return;
  for (std::size_t i = 0; i < job.results.size(); ++i) {
    if (job.results[i].error != nullptr || job.recalled(i)) recalled(job, i);
  }
}

void MetricsObserver::rest_failed(const RunJob& job, const std::exception_ptr& error) {
  const ErrorCode code = code_of(error);
  const Clock::time_point now = Clock::now();
  for (const std::vector<std::size_t>& planned : job.waiting) {
    for (const std::size_t index : planned) {
      for (const std::int32_t image : job.plans[index].images) {
        const auto fail = [&](std::size_t one) { recorder_.failed(job.first_id + one, code, job.start, now, true); };
        fail(static_cast<std::size_t>(image));
        job.each_twin(static_cast<std::size_t>(image), fail);
      }
    }
  }
}

void MetricsObserver::again_failed(const RunJob& job, const std::exception_ptr& error) {
  const ErrorCode code = code_of(error);
  const Clock::time_point now = Clock::now();
  for (std::size_t i = 0; i < job.results.size(); ++i) {
    if (!runs_again(job.results[i])) continue;
    recorder_.failed(job.first_id + i, code, job.start, now, true);
    job.each_twin(i, [&](std::size_t twin) { recorder_.failed(job.first_id + twin, code, job.start, now, true); });
  }
}

void MetricsObserver::started(const ScheduledPack& pack) {
  for (const std::int32_t index : pack.plan->images) {
    const auto i = static_cast<std::size_t>(index);
    const ScheduledPack::Image image = pack.image(i);
    recorder_.started(image.id, image.waits_since, pack.claimed, pack.results[i].tokens, pack.number);
  }
}

namespace {

PackRecord record_of(const ScheduledPack& pack, const PackRunner& runner, bool stalled, bool failed,
                     Clock::time_point now) {
  PackRecord record;
  record.number = pack.number;
  record.slot = pack.session_slot;
  record.images = static_cast<std::int32_t>(pack.plan->images.size());
  record.tokens = pack.plan->tokens;
  if (runner.started() < pack.claimed) {  // it failed before it could start
    record.start = record.written = record.ran = record.done = now;
  } else {
    // A stage that was not reached, and one that failed, has no time yet.
    const PackReport& report = runner.report();
    const double engine_us = stalled ? 0.0 : report.engine_us;
    record.capacity = report.capacity;
    record.tokens = report.tokens;
    record.start = runner.started();
    record.written = report.preprocess_us > 0 ? record.start + span_of(report.preprocess_us) : now;
    record.ran = engine_us > 0 ? record.written + span_of(engine_us) : now;
    record.done = !failed ? record.ran + span_of(report.unpack_us) : now;
  }
  return record;
}

}  // namespace

void MetricsObserver::given_back(const ScheduledPack& pack, const PackRunner& runner, bool stalled,
                                 const std::exception_ptr& error) {
  recorder_.pack_failed(record_of(pack, runner, stalled, true, Clock::now()), code_of(error));
  recorder_.pack_undone(pack.plan->images.size());
}

void MetricsObserver::ended(const ScheduledPack& pack, const PackRunner& runner, bool stalled,
                            const std::exception_ptr& error) {
  const Clock::time_point now = Clock::now();
  const PackRecord record = record_of(pack, runner, stalled, error != nullptr, now);
  if (error == nullptr) {
    recorder_.pack_done(record);
  } else {
    recorder_.pack_failed(record, code_of(error));
  }
  for (const std::int32_t index : pack.plan->images) {
    const auto i = static_cast<std::size_t>(index);
    const ScheduledPack::Image image = pack.image(i);
    const Result& result = pack.results[i];
    const std::exception_ptr& cause = error != nullptr ? error : result.error;
    if (cause != nullptr) {
      recorder_.failed(image.id, code_of(cause), image.submitted, now, false);
    } else if (runs_again(result)) {
      recorder_.runs_again(image.id, now);
    } else {
      if (image.promise->made()) recorder_.target(!(result.reason.missed_by_us > 0));
      recorder_.cascaded(result.reason.step);
      recorder_.completed(image.id, image.submitted, now, image.deadline, result.reason.fewer_tokens());
    }
  }
}

}  // namespace navit_edge

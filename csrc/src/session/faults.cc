#include "session/faults.h"

#include "navit_edge/error.h"
#include "session/cascade.h"

namespace navit_edge {

std::exception_ptr closed_error() noexcept {
  return std::make_exception_ptr(Cancelled("the session was closed before this image was run"));
}

std::exception_ptr Faults::broken_error() const noexcept {
  try {
    return std::make_exception_ptr(
        BackendError("the session is broken: " + devices_.why_lost() + "; open the session again"));
  } catch (...) {
    return std::current_exception();
  }
}

bool Faults::may_run_again(const ScheduledPack& pack) const noexcept {
  if (pack.failed_before()) return false;
  return scheduler_.devices_left() > (scheduler_.device(pack.device).lost() ? 0U : 1U);
}

void Faults::give_back(const ScheduledPack& pack, const std::exception_ptr& over) {
  scheduler_.give_back(pack, Clock::now());
  if (over != nullptr) fail_all_waiting(over);
}

void Faults::end_images(const ScheduledPack& pack, const std::exception_ptr& over) {
  Queue& queue = submissions_.queue();
  bool any = false;
  for (PendingImage* image : pack.batch.images) {
    if (runs_again(image->result)) {
      any = true;
      image->begin_second_pass(scheduler_.share_us(image->result.tokens));
      queue.places().enter(image->priority, image->bytes);  // whether there is room or not
      queue.push(*image);
    } else if (image->result.reason.step == CascadeStep::kKept) {
      twins_.part(*image);
      completions_.put(*image);
    } else {
      complete(*image);
    }
  }
  if (any && over != nullptr) fail_all_waiting(over);
}

void Faults::complete(PendingImage& image) {
  PendingImage* const twins = twins_.leave(image, observer_);
  completions_.put(image);
  completions_.put_twins(twins);
  if (twins != nullptr) submissions_.let_in();
}

void Faults::fail_rest(RunJob& job, const std::exception_ptr& error) {
  observer_.rest_failed(job, error);
  job.fail_rest(error);
  scheduler_.remove(job);
}

void Faults::fail_again(RunJob& job, const std::exception_ptr& error) {
  observer_.again_failed(job, error);
  job.fail_again(error);
}

void Faults::fail_all_waiting(const std::exception_ptr& error) {
  Queue& queue = submissions_.queue();
  while (!queue.empty()) {
    PendingImage& image = *queue.oldest();
    queue.remove(image);
    observer_.failed_waiting(image, error);
    image.result.error = error;
    complete(image);
  }
  while (PendingImage* const file = decoding_.take_any()) {
    queue.places().leave(file->priority, file->bytes);
    observer_.failed_waiting(*file, error);
    file->result.error = error;
    completions_.put(*file);
  }
  while (!scheduler_.runs().empty()) fail_rest(*scheduler_.runs().back(), error);
  submissions_.wake_submitters();  // they are refused
}

void Faults::lose(Device& device) {
  scheduler_.lose(device.index, Clock::now());
  if (!broken()) return;
  observer_.recorder().broke();
  const std::exception_ptr error = broken_error();
  devices_.refuse_turns(error);
  fail_all_waiting(error);
}

void Faults::abandon(Worker& worker, double stall_timeout_s, bool closing) {
  ScheduledPack& pack = worker.pack;
  Device& device = *worker.device;
  const std::string what = pack.description() + " stalled: engine " + worker.runner.report().engine +
                           " has not come back for " + std::to_string(stall_timeout_s) + " s";
  const auto error = std::make_exception_ptr(
      BackendError(what + "; its thread is left behind; open the session again, in a new process if the device hangs, "
                          "or raise stall_timeout_s"));
  const bool again = !closing && may_run_again(pack);
  device.breaker.stalled(what);
  device.stalled = true;
  device.count(pack, false);
  worker.abandoned = true;
  if (again) {
    observer_.given_back(pack, worker.runner, true, error);
    pack.hand_back();
    give_back(pack, nullptr);
  } else {
    observer_.ended(pack, worker.runner, true, error);
    if (pack.job != nullptr) {
      PackRunner::fail(pack, error);
      pack.job->end_pack(*pack.plan);
      observer_.twins_ended(*pack.job, *pack.plan);
    } else {
      for (PendingImage* image : pack.batch.images) {
        image->result.error = error;
        complete(*image);
      }
    }
  }
  lose(device);
}

}  // namespace navit_edge

#include "result_queue.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <utility>

#include "gil.h"
#include "py_result.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

/// How long a released reference waits for results to travel with.
constexpr std::chrono::milliseconds kReleaseDelay{20};

}  // namespace

int ResultQueue::current_process() noexcept { return ::getpid(); }
bool ResultQueue::here() const noexcept { return process_ == current_process(); }

ResultQueue::~ResultQueue() {
  // The last owner may be a thread of the session; without the GIL what is left stays.
  if (released_.size == 0 || Py_IsInitialized() == 0 || PyGILState_Check() == 0) return;
  while (released_.size > 0) {
    const std::unique_ptr<Borrowed> borrowed(&released_.pop());
    Py_DECREF(borrowed->object);
  }
}

void ResultQueue::post(PendingResult* pending) noexcept {
  const std::lock_guard lock(mutex_);
  results_.push(*pending);
  ++posted_;
  if (results_.size == 1) arrived_.notify_one();
}

void ResultQueue::release(Borrowed* borrowed) noexcept {
  if (!here()) return;
  const std::lock_guard lock(mutex_);
  released_.push(*borrowed);
  if (released_.size == 1) arrived_.notify_one();
}

void ResultQueue::close() {
  if (!here()) return;
  const std::lock_guard lock(mutex_);
  closed_ = true;
  arrived_.notify_all();
}

py::object ResultQueue::take() {
  if (given_ != nullptr && PyList_Size(given_) > 0) return py::reinterpret_borrow<py::object>(given_);
  Py_CLEAR(given_);
  const py::list out;  // before anything is taken
  Chain<PendingResult> results;
  bool over = false;
  {
    const ReleasedGil release;
    std::unique_lock lock(mutex_);
    done_ = taken_;
    resolved_.notify_all();
    const auto ready = [&] { return results_.size > 0 || closed_; };
    arrived_.wait(lock, [&] { return ready() || released_.size > 0; });
    if (!ready()) arrived_.wait_for(lock, kReleaseDelay, ready);
    results.take(results_);
    taken_ += results.size;
    over = results.size == 0 && closed_;
  }
  let_go();
  if (over) return py::none();
  given_ = out.inc_ref().ptr();
  fill(results, out);
  return out;
}

py::list ResultQueue::take_now() {
  py::list out;
  Chain<PendingResult> results;
  {
    const std::lock_guard lock(mutex_);
    results.take(results_);
    taken_ += results.size;
  }
  fill(results, out);
  return out;
}

bool ResultQueue::flush(std::optional<double> timeout_s) {
  if (!here()) return true;
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;
  constexpr Seconds kLookUp(0.1);
  const Clock::time_point start = Clock::now();
  const ReleasedGil release;
  std::unique_lock lock(mutex_);
  const std::uint64_t until = posted_;
  while (done_ < until) {
    Seconds wait = kLookUp;
    if (timeout_s.has_value()) {
      wait = std::min(wait, Seconds(*timeout_s) - Seconds(Clock::now() - start));
      if (!(wait.count() > 0)) return false;
    }
    if (resolved_.wait_for(lock, wait, [&] { return done_ >= until; })) break;
    lock.unlock();
    look_at_signals();
    lock.lock();
  }
  return true;
}

void ResultQueue::let_go() {
  Chain<Borrowed> released;
  {
    const std::lock_guard lock(mutex_);
    released.take(released_);
  }
  while (released.size > 0) {
    const std::unique_ptr<Borrowed> borrowed(&released.pop());
    Py_DECREF(borrowed->object);  // may run Python
  }
}

/// The results that are in the list are gone, the others are back in the queue.
void ResultQueue::fill(Chain<PendingResult>& results, const py::list& into) {
  while (results.first != nullptr) {
    PendingResult& pending = *results.first;
    PyResult& place = *pending.place;
    if (!place.lost) {
      try {
        place.error = python_error(pending.result.error);
        pending.result.own_outputs();
        place.result = std::move(pending.result);
      } catch (...) {  // for want of memory
        PyErr_Clear();
        pending.result = {};
        place.lost = true;
      }
    }
    if (PyList_Append(into.ptr(), pending.entry) != 0) {
      PyErr_Clear();
      put_back(results);
      if (py::len(into) == 0) throw std::bad_alloc();  // MemoryError
      return;
    }
    results.pop();
    Py_DECREF(pending.entry);
    delete &pending;
  }
}

void ResultQueue::put_back(Chain<PendingResult>& results) noexcept {
  const std::lock_guard lock(mutex_);
  taken_ -= results.size;
  results.take(results_);
  results_.take(results);
}

OwnedImage owned_image(py::handle image, const std::string& who, const std::shared_ptr<ResultQueue>& result_queue) {
  OwnedImage owned;
  owned.view = image_view(image, who);
  auto* const borrowed = new Borrowed{image.inc_ref().ptr()};
  owned.owner = std::shared_ptr<const void>(borrowed->object,
                                            [result_queue, borrowed](const void*) { result_queue->release(borrowed); });
  return owned;
}

}  // namespace navit_edge::bindings

#include "mailbox.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <new>
#include <utility>

#include "py_result.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

/// How long a released reference waits for results to travel with.
constexpr std::chrono::milliseconds kPatience{20};

}  // namespace

int Mailbox::current_process() noexcept { return ::getpid(); }
bool Mailbox::here() const noexcept { return process_ == current_process(); }

Mailbox::~Mailbox() {
  // The last owner may be a thread of the session; without the GIL what is left stays.
  if (released_.size == 0 || Py_IsInitialized() == 0 || PyGILState_Check() == 0) return;
  while (released_.size > 0) {
    const std::unique_ptr<Borrowed> borrowed(&released_.pop());
    Py_DECREF(borrowed->object);
  }
}

void Mailbox::post(Letter* letter) noexcept {
  const std::lock_guard lock(mutex_);
  letters_.push(*letter);
  ++posted_;
  if (letters_.size == 1) arrived_.notify_one();
}

void Mailbox::release(Borrowed* borrowed) noexcept {
  if (!here()) return;
  const std::lock_guard lock(mutex_);
  released_.push(*borrowed);
  if (released_.size == 1) arrived_.notify_one();
}

void Mailbox::close() {
  if (!here()) return;
  const std::lock_guard lock(mutex_);
  closed_ = true;
  arrived_.notify_all();
}

py::object Mailbox::take() {
  if (given_ != nullptr && PyList_Size(given_) > 0) return py::reinterpret_borrow<py::object>(given_);
  Py_CLEAR(given_);
  const py::list out;  // before anything is taken
  Chain<Letter> letters;
  bool over = false;
  {
    const py::gil_scoped_release release;
    std::unique_lock lock(mutex_);
    done_ = taken_;
    resolved_.notify_all();
    const auto mail = [&] { return letters_.size > 0 || closed_; };
    arrived_.wait(lock, [&] { return mail() || released_.size > 0; });
    if (!mail()) arrived_.wait_for(lock, kPatience, mail);
    letters.take(letters_);
    taken_ += letters.size;
    over = letters.size == 0 && closed_;
  }
  let_go();
  if (over) return py::none();
  given_ = out.inc_ref().ptr();
  open(letters, out);
  return out;
}

py::list Mailbox::take_now() {
  py::list out;
  Chain<Letter> letters;
  {
    const std::lock_guard lock(mutex_);
    letters.take(letters_);
    taken_ += letters.size;
  }
  open(letters, out);
  return out;
}

bool Mailbox::flush(std::optional<double> timeout_s) {
  if (!here()) return true;
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;
  constexpr Seconds kLookUp(0.1);
  const Clock::time_point start = Clock::now();
  const py::gil_scoped_release release;
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

void Mailbox::let_go() {
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

/// The letters that are in the list are gone, the others are back in the mailbox.
void Mailbox::open(Chain<Letter>& letters, const py::list& into) {
  while (letters.first != nullptr) {
    Letter& letter = *letters.first;
    PyResult& place = *letter.place;
    if (!place.lost) {
      try {
        place.error = python_error(letter.result.error);
        place.result = std::move(letter.result);
      } catch (...) {  // for want of memory
        PyErr_Clear();
        letter.result = {};
        place.lost = true;
      }
    }
    if (PyList_Append(into.ptr(), letter.entry) != 0) {
      PyErr_Clear();
      put_back(letters);
      if (py::len(into) == 0) throw std::bad_alloc();  // MemoryError
      return;
    }
    letters.pop();
    Py_DECREF(letter.entry);
    delete &letter;
  }
}

void Mailbox::put_back(Chain<Letter>& letters) noexcept {
  const std::lock_guard lock(mutex_);
  taken_ -= letters.size;
  letters.take(letters_);
  letters_.take(letters);
}

OwnedImage owned_image(py::handle image, const std::string& who, const std::shared_ptr<Mailbox>& mailbox) {
  OwnedImage owned;
  owned.view = image_view(image, who);
  auto* const borrowed = new Borrowed{image.inc_ref().ptr()};
  owned.owner =
      std::shared_ptr<const void>(borrowed->object, [mailbox, borrowed](const void*) { mailbox->release(borrowed); });
  return owned;
}

}  // namespace navit_edge::bindings

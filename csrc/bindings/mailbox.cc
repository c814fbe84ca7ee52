#include "mailbox.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "py_result.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

/// How long a released reference waits for results to travel with.
constexpr std::chrono::milliseconds kPatience{20};

/// Lets its image go through the mailbox, from whichever thread drops it.
struct Ticket {
  Ticket(std::shared_ptr<Mailbox> box, PyObject* object) : mailbox(std::move(box)), image(object) {}
  Ticket(const Ticket&) = delete;
  Ticket& operator=(const Ticket&) = delete;
  ~Ticket() { mailbox->release(image); }
  std::shared_ptr<Mailbox> mailbox;
  PyObject* image;
};

}  // namespace

int Mailbox::current_process() noexcept { return ::getpid(); }
bool Mailbox::here() const noexcept { return process_ == current_process(); }

Mailbox::~Mailbox() {
  // The last owner may be a thread of the session; without the GIL what is left stays.
  if (released_.empty() || Py_IsInitialized() == 0 || PyGILState_Check() == 0) return;
  for (PyObject* object : released_) Py_DECREF(object);
}

void Mailbox::post(Result&& result, PyObject* future, PyObject* tag) {
  const std::lock_guard lock(mutex_);
  letters_.push_back({std::move(result), future, tag});
  ++posted_;
  if (letters_.size() == 1) arrived_.notify_one();
}

void Mailbox::release(PyObject* object) {
  if (!here()) return;
  const std::lock_guard lock(mutex_);
  released_.push_back(object);
  if (released_.size() == 1) arrived_.notify_one();
}

void Mailbox::close() {
  if (!here()) return;
  const std::lock_guard lock(mutex_);
  closed_ = true;
  arrived_.notify_all();
}

py::object Mailbox::take() {
  std::vector<Letter> letters;
  bool over = false;
  {
    const py::gil_scoped_release release;
    std::unique_lock lock(mutex_);
    done_ = taken_;
    resolved_.notify_all();
    const auto mail = [&] { return !letters_.empty() || closed_; };
    arrived_.wait(lock, [&] { return mail() || !released_.empty(); });
    if (!mail()) arrived_.wait_for(lock, kPatience, mail);
    letters.swap(letters_);
    taken_ += letters.size();
    over = letters.empty() && closed_;
  }
  let_go();
  if (over) return py::none();
  return opened(letters);
}

py::list Mailbox::take_now() {
  std::vector<Letter> letters;
  {
    const std::lock_guard lock(mutex_);
    letters.swap(letters_);
    taken_ += letters.size();
  }
  return opened(letters);
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
  std::vector<PyObject*> released;
  {
    const std::lock_guard lock(mutex_);
    if (released_.empty()) return;
    released.swap(released_);
  }
  for (PyObject* object : released) Py_DECREF(object);  // may run Python
}

py::list Mailbox::opened(std::vector<Letter>& letters) {
  py::list out(letters.size());
  for (std::size_t i = 0; i < letters.size(); ++i) {
    Letter& letter = letters[i];
    PyResult result = py_result(std::move(letter.result));
    if (letter.tag != nullptr) result.tag = py::reinterpret_steal<py::object>(letter.tag);
    const auto future = py::reinterpret_steal<py::object>(letter.future);
    out[i] = py::make_tuple(future, std::move(result));
  }
  return out;
}

OwnedImage owned_image(py::handle image, const std::string& who, const std::shared_ptr<Mailbox>& mailbox) {
  OwnedImage owned;
  owned.view = image_view(image, who);
  const auto ticket = std::make_shared<Ticket>(mailbox, image.inc_ref().ptr());
  owned.owner = std::shared_ptr<const void>(ticket, ticket->image);
  return owned;
}

}  // namespace navit_edge::bindings

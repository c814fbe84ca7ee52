// What threads without the GIL leave for Python: results of submitted images, and references to let go of.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "bindings.h"
#include "navit_edge/image.h"
#include "navit_edge/unpack.h"

namespace navit_edge::bindings {

/// A session's threads post here and never wait for the GIL; the session's delivery thread
/// (python/navit_edge/future.py) takes all there is at once: it needs the GIL once for many images. References travel
/// as bare pointers, each one owned: what is left when the interpreter is gone is not touched.
class Mailbox {
 public:
  ~Mailbox();

  /// From any thread, without the GIL. Takes over the references; `tag` may be null.
  void post(Result&& result, PyObject* future, PyObject* tag);
  /// From any thread, without the GIL. Takes over the reference, which is let go of soon: with the next results, or
  /// after kPatience.
  void release(PyObject* object);
  /// No more is posted. Wakes `take`. From any thread, without the GIL.
  void close();

  /// With the GIL. Waits for results, without it, and gives [(future, Result), ...]; None after `close` when nothing is
  /// left. Only the delivery thread calls it.
  pybind11::object take();
  /// With the GIL. What is there now, for a callback on the delivery thread that cannot wait for itself.
  pybind11::list take_now();
  /// Waits, without the GIL, until all that was posted before has been resolved, callbacks included: true; false where
  /// `timeout_s` passed before (none: for as long as it takes). Answers Ctrl-C.
  bool flush(std::optional<double> timeout_s);
  /// With the GIL. Lets go of what was released.
  void let_go();

  /// False in a forked child, where the lock may be held for ever and nobody delivers.
  [[nodiscard]] bool here() const noexcept;

 private:
  struct Letter {
    Result result;
    PyObject* future;
    PyObject* tag;
  };
  pybind11::list opened(std::vector<Letter>& letters);

  static int current_process() noexcept;
  const int process_ = current_process();
  std::mutex mutex_;
  std::condition_variable arrived_;   // for `take`
  std::condition_variable resolved_;  // for `flush`
  std::vector<Letter> letters_;
  std::vector<PyObject*> released_;
  std::uint64_t posted_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t done_ = 0;  // taken and resolved
  bool closed_ = false;
};

/// The pixels of a Python image, kept alive until the session has read them. With the GIL; `image` is an array or
/// Pixels as image_view takes them.
OwnedImage owned_image(pybind11::handle image, const std::string& who, const std::shared_ptr<Mailbox>& mailbox);

}  // namespace navit_edge::bindings

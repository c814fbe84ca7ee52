// What threads without the GIL leave for Python: results of submitted images, and references to let go of.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "bindings.h"
#include "navit_edge/image.h"
#include "navit_edge/unpack.h"
#include "py_result.h"

namespace navit_edge::bindings {

class ResultQueue;

/// How the result of one image comes back. Made before the image is submitted, so that delivery allocates next to
/// nothing: memory may have run out. References are bare pointers, each one owned: what is left when the
/// interpreter is gone is not touched.
struct PendingResult {
  std::shared_ptr<ResultQueue> to;  // until it is posted
  PyObject* entry;                  // (future, Result)
  PyResult* place;                  // in that Result
  Result result{};
  PendingResult* behind = nullptr;
};

/// A reference that a session's thread lets go of.
struct Borrowed {
  PyObject* object;
  Borrowed* behind = nullptr;
};

/// A list through its items, in order; owns none of them.
template <class Item>
struct Chain {
  Item* first = nullptr;
  Item** end = &first;
  std::size_t size = 0;

  Chain() = default;
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  void push(Item& item) noexcept {
    item.behind = nullptr;
    *end = &item;
    end = &item.behind;
    ++size;
  }
  Item& pop() noexcept {
    Item& item = *first;
    first = item.behind;
    if (first == nullptr) end = &first;
    --size;
    return item;
  }
  /// All of `other`, behind what is here.
  void take(Chain& other) noexcept {
    while (other.first != nullptr) push(other.pop());
  }
};

/// A session's threads post here and never wait for the GIL; the session's delivery thread
/// (python/navit_edge/future.py) takes all there is at once: it needs the GIL once for many images.
class ResultQueue {
 public:
  ~ResultQueue();

  /// From any thread, without the GIL. Takes over the result.
  void post(PendingResult* pending) noexcept;
  /// From any thread, without the GIL. Takes over both; the reference is let go of soon: with the next results, or
  /// after kReleaseDelay.
  void release(Borrowed* borrowed) noexcept;
  /// No more is posted. Wakes `take`. From any thread, without the GIL.
  void close();

  /// With the GIL. Waits for results, without it, and gives [(future, Result), ...]; None after `close` when nothing is
  /// left. If memory is short it gives fewer, or throws, and keeps the others for the next call. What the last list
  /// still holds comes first, in the same list: the caller takes out of it what is resolved, so that an exception from
  /// outside between two of its steps loses nothing. Only the delivery thread calls it.
  pybind11::object take();
  /// With the GIL. What is there now, for a callback on the delivery thread that cannot wait for itself.
  pybind11::list take_now();
  /// Waits, without the GIL, until all that was posted before has been resolved, callbacks included: true; false if
  /// `timeout_s` passed before (none: for as long as it takes). Answers Ctrl-C.
  bool flush(std::optional<double> timeout_s);
  /// With the GIL. Lets go of what was released.
  void let_go();

  /// False in a forked child, where the lock may be held for ever and nobody delivers.
  [[nodiscard]] bool here() const noexcept;

 private:
  void fill(Chain<PendingResult>& results, const pybind11::list& into);
  void put_back(Chain<PendingResult>& results) noexcept;

  static int current_process() noexcept;
  const int process_ = current_process();
  std::mutex mutex_;
  std::condition_variable arrived_;   // for `take`
  std::condition_variable resolved_;  // for `flush`
  Chain<PendingResult> results_;
  Chain<Borrowed> released_;
  PyObject* given_ = nullptr;  // the list that `take` gave last; with the GIL
  std::uint64_t posted_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t done_ = 0;  // taken and resolved
  bool closed_ = false;
};

/// The pixels of a Python image, kept alive until the session has read them. With the GIL; `image` is an array or
/// Pixels as image_view takes them.
OwnedImage owned_image(pybind11::handle image, const std::string& who,
                       const std::shared_ptr<ResultQueue>& result_queue);

}  // namespace navit_edge::bindings

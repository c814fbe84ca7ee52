// Letting go of the GIL, and taking it, in threads that may live longer than the interpreter.
//
// Before Python 3.14 a thread that asks for the GIL while the interpreter ends is ended there and then, by unwinding
// its stack: through destructors that must not throw, which ends the process ("terminate called without an active
// exception"), and through code that knows nothing of it. Here such a thread stops where it is, as in Python 3.14, and
// the process ends without it. pybind11's own classes do not.
#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

namespace navit_edge::bindings {

/// take(), or this thread waits for the end of the process.
template <class Take>
auto take_gil_or_stop(Take&& take) {
  try {
    return take();
  } catch (...) {  // the unwinding that ends a thread; neither call raises anything else
    for (;;) ::pause();
  }
}

/// Without the GIL while it lives. The thread has it before and after.
class ReleasedGil {
 public:
  ReleasedGil() : state_(PyEval_SaveThread()) {}
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;
  ~ReleasedGil() {
    take_gil_or_stop([this] { PyEval_RestoreThread(state_); });
  }

 private:
  PyThreadState* const state_;
};

/// With the GIL while it lives, in any thread.
class HeldGil {
 public:
  HeldGil() : state_(take_gil_or_stop(&PyGILState_Ensure)) {}
  HeldGil(const HeldGil&) = delete;
  HeldGil& operator=(const HeldGil&) = delete;
  ~HeldGil() { PyGILState_Release(state_); }

 private:
  const PyGILState_STATE state_;
};

}  // namespace navit_edge::bindings

// navit_edge._core.Session: a session and the queue of its results.
#pragma once

#include <memory>

#include "navit_edge/session.h"
#include "py_result.h"
#include "result_queue.h"

namespace navit_edge::bindings {

struct PySession {
  explicit PySession(std::unique_ptr<Session> opened);
  ~PySession();  // with the GIL, which it releases while the session closes
  PySession(const PySession&) = delete;
  PySession& operator=(const PySession&) = delete;

  std::unique_ptr<Session> session;
  std::shared_ptr<ResultQueue> result_queue;
  PyClasses classes;
  bool caches;  // it remembers results
};

void bind_submit(pybind11::module_& module, pybind11::class_<PySession>& session);

}  // namespace navit_edge::bindings

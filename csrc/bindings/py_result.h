// navit_edge.Result: what one image gave, and what Python adds to it.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "navit_edge/unpack.h"

namespace navit_edge::bindings {

struct PyResult {
  Result result;
  pybind11::object error = pybind11::none();
  pybind11::object tag = pybind11::none();
  std::string decoding;     // what decoding did to the image, in words
  std::int64_t index = -1;  // in the list or the source; -1: it was submitted alone
  bool lost = false;        // memory ran out while it was handed over: there is neither a result nor its error
};

/// With the error as its Python class. With the GIL.
PyResult py_result(Result&& result);

}  // namespace navit_edge::bindings

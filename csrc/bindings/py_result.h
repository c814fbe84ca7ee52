// navit_edge.Result: what one image gave, and what Python adds to it.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "navit_edge/unpack.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge::bindings {

/// The classes of a bundle, for results to share.
struct PyClasses {
  pybind11::object labels = pybind11::none();  // a tuple
  Scores scores = Scores::kSoftmax;
};

struct PyResult {
  Result result;
  pybind11::object error = pybind11::none();
  pybind11::object tag = pybind11::none();
  PyClasses classes;
  std::string decoding;          // what decoding did to the image, in words
  std::string unpickled_sizing;  // `result.reason` in words, where it came out of a pickle
  std::int64_t index = -1;       // in the list or the source; -1: it was submitted alone
  bool lost = false;             // memory ran out while it was handed over: there is neither a result nor its error
};

/// With the error as its Python class, and rows of its own, so that who keeps them does not keep the pack. With the
/// GIL.
PyResult py_result(Result&& result, PyClasses classes);

/// Why it has fewer tokens than the sizing rule gives.
std::string sizing_words(const PyResult& result);

/// A read-only array of an output, which keeps its memory alive; None of an empty one. [cols] of one with one row for
/// each image, [rows, layers, cols] of deepstack, else [rows, cols].
pybind11::object array_of(const Result& result, GraphOutput kind);

/// Copying and pickling (bind_result_state.cc).
void bind_result_state(pybind11::class_<PyResult>& result);

}  // namespace navit_edge::bindings

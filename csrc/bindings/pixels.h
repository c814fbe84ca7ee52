// Pixels as Python hands them over: numpy arrays, or arrays with a format, borrowed.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "navit_edge/image.h"

namespace navit_edge::bindings {

/// navit_edge.Pixels: a view and what keeps its bytes alive.
struct Pixels {
  ImageView view;
  std::vector<pybind11::object> owners;
};

/// A view of one array, whose format its shape and strides give.
ImageView array_view(pybind11::handle array, const std::string& who);

/// One plane of `rows` times `width` values of `step` bytes, [rows, width(, step)] or [rows, width * step]; `stride` is
/// set to the bytes from row to row.
const std::uint8_t* plane(pybind11::handle array, const std::string& who, std::int32_t rows, std::int32_t width,
                          std::int32_t step, std::int64_t& stride);

}  // namespace navit_edge::bindings

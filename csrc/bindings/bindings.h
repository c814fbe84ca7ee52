// What the files of the Python module share.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

#include "navit_edge/image.h"

namespace navit_edge::bindings {

void bind_errors(pybind11::module_& module);
void bind_pixels(pybind11::module_& module);
void bind_plan(pybind11::module_& module);
void bind_resize(pybind11::module_& module);
void bind_session(pybind11::module_& module);

/// A view of a uint8 array [height_px, width_px(, channels)] or of navit_edge.Pixels. Borrows it. Throws InvalidInput,
/// naming `who`.
ImageView image_view(pybind11::handle image, const std::string& who);

/// A new instance of the Python class for `error` (python/navit_edge/errors.py).
pybind11::object python_error(const std::exception_ptr& error);

}  // namespace navit_edge::bindings

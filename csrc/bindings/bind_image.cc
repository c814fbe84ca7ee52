// numpy arrays as image views: borrowed, never copied, refused with a remedy where they do not fit.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "navit_edge/error.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

std::string shape_text(const py::array& array) {
  std::string text = "[";
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
    text += (axis == 0 ? "" : ", ") + std::to_string(array.shape(axis));
  }
  return text + "]";
}

}  // namespace

ImageView image_view(py::handle object, const std::string& who) {
  constexpr const char* kExpected = "expected a C-contiguous numpy array [height, width, 3] of uint8, RGB";
  if (!py::isinstance<py::array>(object)) {
    const auto type = py::str(py::type::of(object).attr("__name__")).cast<std::string>();
    throw InvalidInput(who + " is of type " + type + "; " + kExpected);
  }
  const auto array = py::reinterpret_borrow<py::array>(object);
  if (!array.dtype().is(py::dtype::of<std::uint8_t>())) {
    throw InvalidInput(who + " has dtype " + py::str(array.dtype()).cast<std::string>() + "; " + kExpected +
                       "; scale to 0..255 and convert with .astype(np.uint8)");
  }
  if (array.ndim() == 2 || (array.ndim() == 3 && array.shape(2) == 1)) {
    throw InvalidInput(who + " is grayscale, " + shape_text(array) + "; " + kExpected +
                       "; repeat the channel, e.g. np.repeat(image.reshape(h, w, 1), 3, axis=2)");
  }
  if (array.ndim() == 3 && array.shape(2) == 4) {
    throw InvalidInput(who + " has an alpha channel, " + shape_text(array) + "; " + kExpected +
                       "; composite it over a colour, or drop alpha with np.ascontiguousarray(image[:, :, :3])");
  }
  if (array.ndim() != 3 || array.shape(2) != 3) {
    throw InvalidInput(who + " has shape " + shape_text(array) + "; " + kExpected);
  }
  if (array.shape(0) == 0 || array.shape(1) == 0) {
    throw InvalidInput(who + " is empty, " + shape_text(array) + "; expected at least one pixel a side; leave it out");
  }
  constexpr py::ssize_t kMaxSide = 1 << 20;
  if (array.shape(0) > kMaxSide || array.shape(1) > kMaxSide) {
    throw InvalidInput(who + " has shape " + shape_text(array) + "; expected at most 1048576 pixels a side; tile it");
  }
  if ((array.flags() & py::array::c_style) == 0) {
    throw InvalidInput(who + " is a strided view, " + shape_text(array) +
                       "; expected contiguous rows, so that no copy is silent; pass np.ascontiguousarray(image)");
  }
  ImageView view;
  view.data = static_cast<const std::uint8_t*>(array.data());
  view.height_px = static_cast<std::int32_t>(array.shape(0));
  view.width_px = static_cast<std::int32_t>(array.shape(1));
  view.channels = static_cast<std::int32_t>(array.shape(2));
  return view;
}

}  // namespace navit_edge::bindings

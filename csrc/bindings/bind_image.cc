// numpy arrays as image views: borrowed, never copied, refused with a remedy if they do not fit.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "navit_edge/error.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

constexpr const char* kExpected =
    "expected a numpy array of uint8, [height, width] (gray), [height, width, 3] (RGB) or [height, width, 4] (RGBA), "
    "or navit_edge.Pixels for other formats";

std::string shape_text(const py::array& array) {
  std::string text = "[";
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
    text += (axis == 0 ? "" : ", ") + std::to_string(array.shape(axis));
  }
  return text + "]";
}

/// numpy.ma.MaskedArray. An instance only exists if the module is loaded.
bool is_masked(const py::array& array) {
  if (Py_TYPE(array.ptr()) == py::detail::npy_api::get().PyArray_Type_) return false;
  const py::dict modules = py::module_::import("sys").attr("modules");
  return modules.contains("numpy.ma") && py::isinstance(array, modules["numpy.ma"].attr("MaskedArray"));
}

py::array checked_array(py::handle object, const std::string& who, const char* expected) {
  if (!py::isinstance<py::array>(object)) {
    const auto type = py::str(py::type::of(object).attr("__name__")).cast<std::string>();
    throw InvalidInput(who + " is of type " + type + "; " + expected);
  }
  auto array = py::reinterpret_borrow<py::array>(object);
  if (is_masked(array)) {
    throw InvalidInput(who + " is a masked array, and no model sees a mask; " + expected +
                       "; give masked pixels a colour: image.filled(0)");
  }
  // By what it is, not by which object: numpy makes others for arrays that were pickled, mapped or made by ctypes.
  if (array.dtype().kind() != 'u' || array.dtype().itemsize() != 1) {
    throw InvalidInput(who + " has dtype " + py::str(array.dtype()).cast<std::string>() + "; " + expected +
                       "; scale to 0..255 and convert with .astype(np.uint8)");
  }
  for (py::ssize_t axis = 0; axis < std::min<py::ssize_t>(array.ndim(), 2); ++axis) {
    if (array.shape(axis) == 0) {
      throw InvalidInput(who + " is empty, " + shape_text(array) +
                         "; expected at least one pixel a side; leave it out");
    }
    if (array.shape(axis) > kMostSidePx) {
      throw InvalidInput(who + " has shape " + shape_text(array) + "; expected at most 1048576 pixels a side; tile it");
    }
  }
  return array;
}

/// Bytes from row to row. 0, which numpy has for broadcast rows, would mean adjacent ones.
std::int64_t row_stride(const py::array& array, const std::string& who) {
  if (array.shape(0) == 1) return 0;
  if (array.strides(0) == 0) {
    throw InvalidInput(who + " repeats one row, " + shape_text(array) +
                       " by broadcasting; expected rows of its own; pass np.ascontiguousarray(image)");
  }
  return array.strides(0);
}

[[noreturn]] void refuse_strides(const py::array& array, const std::string& who) {
  throw InvalidInput(who + " is a strided view, " + shape_text(array) +
                     ", whose pixels do not lie side by side in a row; a copy would be silent, so make it yourself: "
                     "np.ascontiguousarray(image)");
}

}  // namespace

ImageView array_view(py::handle object, const std::string& who) {
  const py::array array = checked_array(object, who, kExpected);
  const py::ssize_t channels = array.ndim() == 2 ? 1 : array.ndim() == 3 ? array.shape(2) : 0;
  if (channels != 1 && channels != 3 && channels != 4) {
    throw InvalidInput(
        who + " has shape " + shape_text(array) + "; " + kExpected +
        (array.ndim() == 3 && array.shape(0) <= 4
             ? "; if channels come first give layout=\"chw\", or move them last: image.transpose(1, 2, 0)"
         : array.ndim() == 4 ? "; pass the images of a batch one by one"
         : array.ndim() == 1 ? "; if these are the bytes of an image file pass image.tobytes()"
                             : ""));
  }
  ImageView view;
  view.data = static_cast<const std::uint8_t*>(array.data());
  view.height_px = static_cast<std::int32_t>(array.shape(0));
  view.width_px = static_cast<std::int32_t>(array.shape(1));
  view.row_stride_bytes = row_stride(array, who);
  const py::ssize_t step = view.width_px == 1 && channels != 3 ? channels : array.strides(1);
  const py::ssize_t channel_step = channels == 1 ? 1 : array.strides(2);
  view.channels = static_cast<std::int32_t>(channels);
  if (channels == 3 && (channel_step == 1 || channel_step == -1) && (step == 3 || step == 4 || view.width_px == 1)) {
    // Views on BGR (image[:, :, ::-1]) and on four channels (image[:, :, :3]) are read where they lie.
    const bool four = step == 4 && view.width_px > 1;
    view.channels = four ? 4 : 3;
    view.format = channel_step == 1 ? (four ? PixelFormat::kRgbx : PixelFormat::kRgb)
                                    : (four ? PixelFormat::kBgrx : PixelFormat::kBgr);
    if (channel_step == -1) view.data -= 2;
  } else if (step != channels || channel_step != 1) {
    refuse_strides(array, who);
  }
  if (view.row_stride_bytes == 0) view.row_stride_bytes = std::int64_t{view.width_px} * view.channels;
  return view;
}

ImageView image_view(py::handle object, const std::string& who) {
  if (py::isinstance<Pixels>(object)) return object.cast<const Pixels&>().view;
  return array_view(object, who);
}

/// One plane of `width` values a row, `step` bytes each: [rows, width] or [rows, width, step].
const std::uint8_t* plane(py::handle object, const std::string& who, std::int32_t rows, std::int32_t width,
                          std::int32_t step, std::int64_t& stride) {
  const std::string expected = "expected uint8 [" + std::to_string(rows) + ", " + std::to_string(width) +
                               (step > 1 ? ", " + std::to_string(step) : "") + "]";
  const py::array array = checked_array(object, who, expected.c_str());
  const bool flat = array.ndim() == 2 && array.shape(0) == rows && array.shape(1) == py::ssize_t{width} * step;
  const bool deep = array.ndim() == 3 && array.shape(0) == rows && array.shape(1) == width && array.shape(2) == step;
  if (!flat && !deep) throw InvalidInput(who + " has shape " + shape_text(array) + "; " + expected);
  const bool apart = array.shape(1) > 1 && array.strides(1) != (flat ? 1 : step);
  if (apart || (deep && step > 1 && array.strides(2) != 1)) refuse_strides(array, who);
  stride = row_stride(array, who);
  return static_cast<const std::uint8_t*>(array.data());
}

}  // namespace navit_edge::bindings

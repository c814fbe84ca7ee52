// navit_edge.Pixels.from_buffer: frames that a camera or decoder left in plain memory.
#include <pybind11/stl.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "bindings.h"
#include "navit_edge/error.h"
#include "navit_edge/vocabulary.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

struct Plane {
  std::int64_t rows;
  std::int64_t row_bytes;
};

/// The planes of a format, in the order of memory.
std::vector<Plane> planes_of(PixelFormat format, std::int64_t height, std::int64_t width) {
  const std::int64_t rows = (height + 1) / 2;
  const std::int64_t pairs = (width + 1) / 2;
  switch (format) {
    case PixelFormat::kNv12:
      return {{height, width}, {rows, 2 * pairs}};
    case PixelFormat::kI420:
      return {{height, width}, {rows, pairs}, {rows, pairs}};
    default:
      return {{height, channels_of(format) * width}};
  }
}

/// One number a plane, or none at all.
std::vector<std::int64_t> numbers(const py::object& given, const char* name, std::size_t planes) {
  if (given.is_none()) return {};
  std::vector<std::int64_t> values;
  try {
    values = py::isinstance<py::int_>(given) ? std::vector<std::int64_t>{given.cast<std::int64_t>()}
                                             : given.cast<std::vector<std::int64_t>>();
  } catch (const py::cast_error&) {
    throw InvalidInput(std::string(name) + " is " + py::repr(given).cast<std::string>() +
                       "; expected a number of bytes for each plane");
  }
  if (values.size() < planes) {
    throw InvalidInput(std::string(name) + " has " + std::to_string(values.size()) + " values; expected " +
                       std::to_string(planes) + ", one for each plane");
  }
  return values;  // GStreamer's arrays have four, the rest unused
}

}  // namespace

Pixels pixels_of_buffer(const py::object& buffer, const std::string& format, std::int32_t height_px,
                        std::int32_t width_px, const py::object& strides, const py::object& offsets,
                        const std::string& matrix, const std::string& range, const py::object& owner) {
  if (height_px < 1 || width_px < 1 || height_px > kMostSidePx || width_px > kMostSidePx) {
    throw InvalidInput("the frame is " + std::to_string(height_px) + "x" + std::to_string(width_px) +
                       " pixels; expected 1 to 1048576 a side");
  }
  if (PyObject_CheckBuffer(buffer.ptr()) == 0) {
    throw InvalidInput("the buffer is of type " + py::str(py::type::of(buffer).attr("__name__")).cast<std::string>() +
                       "; expected bytes, a memoryview, or another object of the buffer protocol");
  }
  Pixels pixels;
  const auto memory = py::reinterpret_steal<py::object>(PyMemoryView_FromObject(buffer.ptr()));
  if (!memory) throw py::error_already_set();
  pixels.owners = {memory, owner};  // the memory view pins the buffer
  const Py_buffer* bytes = PyMemoryView_GET_BUFFER(memory.ptr());
  if (PyBuffer_IsContiguous(bytes, 'C') == 0) {
    throw InvalidInput(
        "the buffer is not contiguous; expected the whole block of memory, with the bytes from row to row as strides");
  }

  ImageView& view = pixels.view;
  view.format = parse_word<PixelFormat>(format);
  set_colour(view, matrix, range);
  view.height_px = height_px;
  view.width_px = width_px;
  const std::vector<Plane> planes = planes_of(view.format, height_px, width_px);
  view.channels = planes.size() > 1 ? 1 : static_cast<std::int32_t>(planes[0].row_bytes / width_px);
  const std::vector<std::int64_t> apart = numbers(strides, "strides", planes.size());
  const std::vector<std::int64_t> starts = numbers(offsets, "offsets", planes.size());
  std::int64_t next = 0;
  for (std::size_t i = 0; i < planes.size(); ++i) {
    const std::int64_t stride = apart.empty() ? planes[i].row_bytes : apart[i];
    const std::int64_t start = starts.empty() ? next : starts[i];
    const std::string of = " of plane " + std::to_string(i);
    if (stride < planes[i].row_bytes || stride > std::numeric_limits<std::int32_t>::max()) {
      throw InvalidInput("the stride" + of + " is " + std::to_string(stride) + " bytes; expected at least the " +
                         std::to_string(planes[i].row_bytes) + " of its rows");
    }
    const std::int64_t extent = stride * (planes[i].rows - 1) + planes[i].row_bytes;
    if (start < 0 || start > bytes->len || extent > bytes->len - start) {
      throw InvalidInput("the buffer has " + std::to_string(bytes->len) + " bytes and plane " + std::to_string(i) +
                         " takes " + std::to_string(extent) + " from " + std::to_string(start) +
                         " on; check format, size, strides and offsets");
    }
    const auto* data = static_cast<const std::uint8_t*>(bytes->buf) + start;
    if (i == 0) {
      view.data = data;
      view.row_stride_bytes = stride;
    } else {
      view.planes[i - 1] = data;
      view.plane_stride_bytes[i - 1] = stride;
    }
    next = start + stride * planes[i].rows;
  }
  return pixels;
}

}  // namespace navit_edge::bindings

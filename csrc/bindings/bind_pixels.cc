// navit_edge.Pixels: arrays whose shape does not say what they hold.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "bindings.h"
#include "navit_edge/error.h"
#include "navit_edge/vocabulary.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

ImageView interleaved_view(const py::object& array, PixelFormat format) {
  ImageView view = array_view(array, "pixels");
  const PixelFormat found = view.pixel_format();
  const std::int32_t expected = channels_of(format);
  const bool plain = found == PixelFormat::kGray || found == PixelFormat::kRgb || found == PixelFormat::kRgba;
  if (view.channels != expected || !plain) {
    throw InvalidInput(std::string("pixels has ") + std::to_string(view.channels) + " channels and the format '" +
                       std::string(word_of(format)) + "'; expected a uint8 array of " + std::to_string(expected) +
                       " adjacent channels; pass the array as the camera or decoder gave it");
  }
  view.format = format;
  return view;
}

/// [3 h / 2, w], as OpenCV and most decoders have it: the Y plane, then chroma, in one array.
ImageView stacked_view(const py::object& object, bool nv12) {
  ImageView view = array_view(object, "pixels");
  const std::int32_t rows = view.height_px;
  if (view.channels != 1 || rows % 3 != 0 || view.width_px % 2 != 0) {
    throw InvalidInput("pixels in one array has " + std::to_string(rows) + " rows of " + std::to_string(view.width_px) +
                       " values, " + std::to_string(view.channels) +
                       " channels; expected [3 * height / 2, width] with even sides; pass the planes apart, as " +
                       (nv12 ? "(y, uv)" : "(y, u, v)") + ", if a side is odd");
  }
  view.height_px = rows / 3 * 2;
  const std::uint8_t* chroma = view.data + view.height_px * view.stride();
  if (nv12) {
    view.planes[0] = chroma;
    view.plane_stride_bytes[0] = view.stride();
  } else {
    if (view.stride() != view.width_px) {
      throw InvalidInput("pixels in one I420 array has rows " + std::to_string(view.stride()) +
                         " bytes apart; expected " + std::to_string(view.width_px) +
                         ", adjacent rows; pass the planes apart, as (y, u, v)");
    }
    view.planes[0] = chroma;
    view.planes[1] = chroma + std::int64_t{view.height_px / 2} * (view.width_px / 2);
  }
  return view;
}

ImageView planar_view(const py::sequence& planes, bool nv12) {
  const std::size_t expected = nv12 ? 2 : 3;
  if (planes.size() != expected) {
    throw InvalidInput("pixels has " + std::to_string(planes.size()) + " planes; expected " +
                       (nv12 ? "2, (y, uv)" : "3, (y, u, v)"));
  }
  ImageView view = array_view(planes[0], "plane y of pixels");
  if (view.channels != 1) {
    throw InvalidInput("plane y of pixels has " + std::to_string(view.channels) +
                       " channels; expected uint8 [height, width]");
  }
  const std::int32_t rows = (view.height_px + 1) / 2;
  const std::int32_t pairs = (view.width_px + 1) / 2;
  for (std::size_t i = 1; i < expected; ++i) {
    const char* who = nv12 ? "plane uv of pixels" : i == 1 ? "plane u of pixels" : "plane v of pixels";
    view.planes[i - 1] = plane(planes[i], who, rows, pairs, nv12 ? 2 : 1, view.plane_stride_bytes[i - 1]);
  }
  return view;
}

Pixels make_pixels(const py::object& planes, const std::string& format, const std::string& matrix,
                   const std::string& range) {
  Pixels pixels;
  pixels.owners.push_back(planes);
  const PixelFormat parsed = parse_word<PixelFormat>(format);
  if (parsed == PixelFormat::kNv12 || parsed == PixelFormat::kI420) {
    const bool nv12 = parsed == PixelFormat::kNv12;
    const bool several = py::isinstance<py::tuple>(planes) || py::isinstance<py::list>(planes);
    if (several) {  // a list may lose its arrays later
      for (const py::handle one : planes) pixels.owners.push_back(py::reinterpret_borrow<py::object>(one));
    }
    pixels.view = several ? planar_view(planes.cast<py::sequence>(), nv12) : stacked_view(planes, nv12);
    pixels.view.format = parsed;
  } else {
    pixels.view = interleaved_view(planes, parsed);
  }
  set_colour(pixels.view, matrix, range);
  return pixels;
}

/// A frame and the one that follows it.
Pixels pair_of(const py::object& first, const py::object& second) {
  Pixels pixels;
  pixels.owners = {first, second};
  pixels.view = image_view(first, "the first frame");
  const ImageView other = image_view(second, "the second frame");
  const ImageView& one = pixels.view;
  if (one.size() != other.size() || one.pixel_format() != other.pixel_format() || one.stride() != other.stride()) {
    throw InvalidInput("a pair of frames has " + std::to_string(one.height_px) + " x " + std::to_string(one.width_px) +
                       " and " + std::to_string(other.height_px) + " x " + std::to_string(other.width_px) +
                       " pixels, or others formats or strides; expected two frames of one film; copy them: "
                       "np.ascontiguousarray(frame)");
  }
  if (one.planes[0] != nullptr) {
    throw InvalidInput("a pair of frames is in the format '" + std::string(word_of(one.format)) +
                       "'; expected RGB or another format without planes; convert it: navit_edge.to_rgb(frame)");
  }
  pixels.view.next_frame = other.data;
  return pixels;
}

/// https://arrow.apache.org/docs/format/CDataInterface.html
struct ArrowArray {
  std::int64_t length, null_count, offset, n_buffers, n_children;
  const void** buffers;
  ArrowArray** children;
  ArrowArray* dictionary;
  void (*release)(ArrowArray*);
  void* private_data;
};

Pixels pixels_of_arrow(const py::object& image, std::int32_t height_px, std::int32_t width_px,
                       const std::string& format) {
  Pixels pixels;
  const py::tuple pair = image.attr("__arrow_c_array__")();
  pixels.owners.push_back(pair);  // the capsules release the memory
  const py::object capsule = pair[1];
  const auto* array = static_cast<const ArrowArray*>(PyCapsule_GetPointer(capsule.ptr(), "arrow_array"));
  if (array == nullptr) throw py::error_already_set();
  ImageView& view = pixels.view;
  view.format = parse_word<PixelFormat>(format);
  view.channels = view.format == PixelFormat::kGray ? 1 : 4;
  view.height_px = height_px;
  view.width_px = width_px;
  const ArrowArray* values = view.channels == 4 && array->n_children == 1 ? array->children[0] : array;
  const std::int64_t expected = std::int64_t{height_px} * width_px * view.channels;
  if (values->n_buffers != 2 || values->offset != 0 || array->offset != 0 || values->length != expected ||
      values->buffers[1] == nullptr) {
    throw py::value_error("the image exports " + std::to_string(values->length) + " values; expected " +
                          std::to_string(expected));
  }
  view.data = static_cast<const std::uint8_t*>(values->buffers[1]);
  return pixels;
}

}  // namespace

void set_colour(ImageView& view, const std::string& matrix, const std::string& range) {
  view.matrix = parse_word<YuvMatrix>(matrix);
  view.range = parse_word<YuvRange>(range);
}

void bind_pixels(py::module_& module) {
  py::class_<Pixels>(module, "Pixels")
      .def(py::init(&make_pixels), py::arg("planes"), py::arg("format"), py::kw_only(), py::arg("matrix") = "bt601",
           py::arg("range") = "limited")
      .def_static("pair", &pair_of, py::arg("first"), py::arg("second"))
      .def_static("from_arrow", &pixels_of_arrow, py::arg("image"), py::arg("height_px"), py::arg("width_px"),
                  py::arg("format"))
      .def_static("from_buffer", &pixels_of_buffer, py::arg("buffer"), py::kw_only(), py::arg("format"),
                  py::arg("height_px"), py::arg("width_px"), py::arg("strides") = py::none(),
                  py::arg("offsets") = py::none(), py::arg("matrix") = "bt601", py::arg("range") = "limited",
                  py::arg("owner") = py::none())
      .def_property_readonly("height_px", [](const Pixels& self) { return self.view.height_px; })
      .def_property_readonly("width_px", [](const Pixels& self) { return self.view.width_px; })
      .def_property_readonly("resized_from",
                             [](const Pixels& self) -> std::optional<std::pair<std::int32_t, std::int32_t>> {
                               const Size from = self.view.resized_from;
                               if (from.height_px == 0) return std::nullopt;
                               return std::pair{from.height_px, from.width_px};
                             })
      .def_property_readonly("format", [](const Pixels& self) { return word_of(self.view.format); })
      .def("__repr__", [](const Pixels& self) {
        return "<navit_edge.Pixels " + std::string(word_of(self.view.format)) + " " +
               std::to_string(self.view.height_px) + "x" + std::to_string(self.view.width_px) + ">";
      });
}

}  // namespace navit_edge::bindings

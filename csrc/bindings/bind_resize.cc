// The resize of Pillow and torchvision and the conversion to RGB, on their own.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <utility>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/error.h"
#include "navit_edge/resize.h"
#include "navit_edge/vocabulary.h"

namespace py = pybind11;

namespace navit_edge::bindings {

void bind_resize(py::module_& module) {
  module.def(
      "resize",
      [](const py::object& image, std::pair<std::int32_t, std::int32_t> size, const std::string& filter,
         const std::string& processor) {
        const ImageView view = image_view(image, "image");
        if (size.first < 1 || size.second < 1) {
          throw InvalidInput("size is (" + std::to_string(size.first) + ", " + std::to_string(size.second) +
                             "); expected (height_px, width_px), both at least 1");
        }
        if (size.first > kMostSidePx || size.second > kMostSidePx) {
          throw InvalidInput("size is (" + std::to_string(size.first) + ", " + std::to_string(size.second) +
                             "); expected (height_px, width_px), both at most " + std::to_string(kMostSidePx));
        }
        py::array_t<std::uint8_t> out(
            {py::ssize_t{size.first}, py::ssize_t{size.second}, py::ssize_t{resized_channels(view)}});
        std::uint8_t* data = out.mutable_data();
        const auto parsed = parse_word<Filter>(filter);
        const auto whose = parse_word<Processor>(processor);
        {
          ReleasedGil release;
          resize_image(view, {size.first, size.second}, parsed, data, whose);
        }
        return out;
      },
      py::arg("image"), py::arg("size"), py::arg("filter") = "bilinear", py::arg("processor") = "pillow");
  module.def(
      "to_rgb",
      [](const py::object& image, const std::string& alpha, const Rgb& background) {
        const ImageView view = image_view(image, "image");
        const auto parsed = parse_word<Alpha>(alpha);
        py::array_t<std::uint8_t> out(
            {py::ssize_t{view.height_px}, py::ssize_t{view.width_px}, py::ssize_t{kChannels}});
        std::uint8_t* data = out.mutable_data();
        {
          ReleasedGil release;
          convert_to_rgb(view, parsed, background, data);
        }
        return out;
      },
      py::arg("image"), py::arg("alpha"), py::arg("background"));
}

}  // namespace navit_edge::bindings

// Pillow's resize, on its own.
#include <pybind11/numpy.h>

#include "bindings.h"
#include "navit_edge/error.h"
#include "navit_edge/pack.h"

namespace py = pybind11;

namespace navit_edge::bindings {

void bind_resize(py::module_& module) {
  module.def(
      "resize",
      [](const py::object& image, std::pair<std::int32_t, std::int32_t> size, const std::string& filter) {
        const ImageView view = image_view(image, "image");
        if (size.first < 1 || size.second < 1) {
          throw InvalidInput("size is (" + std::to_string(size.first) + ", " + std::to_string(size.second) +
                             "); expected (height_px, width_px), both at least 1");
        }
        py::array_t<std::uint8_t> out({py::ssize_t{size.first}, py::ssize_t{size.second}, py::ssize_t{view.channels}});
        std::uint8_t* data = out.mutable_data();
        {
          py::gil_scoped_release release;
          resize_image(view, {size.first, size.second}, filter, data);
        }
        return out;
      },
      py::arg("image"), py::arg("size"), py::arg("filter") = "bilinear");
}

}  // namespace navit_edge::bindings

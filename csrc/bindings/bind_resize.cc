// Pillow's resize and the conversion to RGB, on their own.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "bindings.h"
#include "navit_edge/error.h"
#include "navit_edge/pack.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

constexpr std::int32_t kMostSidePx = 1 << 20;

/// write_pack for the input `patches` alone.
class PatchWriter {
 public:
  PatchWriter(std::int32_t patch_px, const std::string& filter, const std::string& alpha,
              const std::array<std::uint8_t, 3>& background, int threads)
      : threads_(threads) {
    if (patch_px < 1 || patch_px > 1024 || threads < 1) {
      throw InvalidInput("patch_px is " + std::to_string(patch_px) + " and threads " + std::to_string(threads) +
                         "; expected 1 to 1024, and at least 1");
    }
    preprocess_.patch_px = patch_px;
    preprocess_.filter = filter;
    preprocess_.alpha = alpha;
    preprocess_.background = background;
    graph_.inputs = {{"patches", DType::kUInt8, {{'T', 0}, {'\0', std::int64_t{kChannels} * patch_px * patch_px}}}};
  }

  const HostTensor& write(const py::list& images, const std::vector<std::pair<int, int>>& grids) {
    std::vector<ImageView> views;
    for (std::size_t i = 0; i < images.size(); ++i) {
      views.push_back(image_view(images[i], "image " + std::to_string(i)));
    }
    std::vector<Grid> targets;
    for (const auto& [rows, cols] : grids) targets.push_back({rows, cols});
    PackPlan plan;
    for (std::int32_t i = 0; i < static_cast<std::int32_t>(views.size()); ++i) plan.images.push_back(i);
    constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();
    py::gil_scoped_release release;
    write_pack(plan, views, targets, preprocess_, {}, graph_, {kMost, kMost, kMost}, true, threads_, pack_);
    return pack_.inputs.front();
  }

 private:
  int threads_;
  PreprocessSpec preprocess_;
  GraphSpec graph_;
  Pack pack_;  // its memory is used again
};

}  // namespace

void bind_resize(py::module_& module) {
  module.def(
      "resize",
      [](const py::object& image, std::pair<std::int32_t, std::int32_t> size, const std::string& filter) {
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
        {
          py::gil_scoped_release release;
          resize_image(view, {size.first, size.second}, filter, data);
        }
        return out;
      },
      py::arg("image"), py::arg("size"), py::arg("filter") = "bilinear");
  py::class_<PatchWriter>(module, "PatchWriter")
      .def(py::init<std::int32_t, const std::string&, const std::string&, const std::array<std::uint8_t, 3>&, int>(),
           py::arg("patch_px"), py::arg("filter"), py::arg("alpha"), py::arg("background"), py::arg("threads"))
      .def(
          "write",
          [](const py::object& self, const py::list& images, const std::vector<std::pair<int, int>>& grids) {
            const HostTensor& patches = self.cast<PatchWriter&>().write(images, grids);
            const std::vector<py::ssize_t> shape(patches.shape().begin(), patches.shape().end());
            return py::array_t<std::uint8_t>(shape, patches.as<std::uint8_t>(), self);
          },
          py::arg("images"), py::arg("grids"));
  module.def(
      "to_rgb",
      [](const py::object& image, const std::string& alpha, const std::array<std::uint8_t, 3>& background) {
        const ImageView view = image_view(image, "image");
        PreprocessSpec preprocess;
        preprocess.alpha = alpha;
        preprocess.background = background;
        py::array_t<std::uint8_t> out(
            {py::ssize_t{view.height_px}, py::ssize_t{view.width_px}, py::ssize_t{kChannels}});
        std::uint8_t* data = out.mutable_data();
        {
          py::gil_scoped_release release;
          convert_to_rgb(view, preprocess, data);
        }
        return out;
      },
      py::arg("image"), py::arg("alpha"), py::arg("background"));
}

}  // namespace navit_edge::bindings

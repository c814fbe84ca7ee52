// The sizing rules on their own.
#include <pybind11/numpy.h>

#include <string>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/error.h"
#include "navit_edge/sizing.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

using Sizes = py::array_t<std::int32_t, py::array::c_style>;

/// Names the image in an error of the rule.
Grid target_of(Size image, const PreprocessSpec& preprocess, py::ssize_t i) {
  try {
    return resize_target(image, preprocess);
  } catch (const Error& e) {
    throw_error(e.code(), "size " + std::to_string(i) + ": " + e.what());
  }
}

}  // namespace

void bind_sizing(py::module_& module) {
  module.def(
      "resize_targets",
      [](const Sizes& sizes, std::int32_t patch_px, const std::string& sizing, std::int32_t max_tokens_per_image) {
        if (sizes.ndim() != 2 || sizes.shape(1) != 2) {
          throw InvalidInput("sizes has " + std::to_string(sizes.ndim()) +
                             " dimensions; expected int32 [images, 2]: (height_px, width_px)");
        }
        PreprocessSpec preprocess;
        preprocess.patch_px = patch_px;
        preprocess.sizing = parse_sizing(sizing, patch_px);
        if (max_tokens_per_image != 0) preprocess.sizing = capped(preprocess.sizing, patch_px, max_tokens_per_image);
        const py::ssize_t count = sizes.shape(0);
        py::array_t<std::int32_t> grids({count, py::ssize_t{2}});
        const std::int32_t* in = sizes.data();
        std::int32_t* out = grids.mutable_data();
        {
          ReleasedGil release;
          for (py::ssize_t i = 0; i < count; ++i) {
            const Grid grid = target_of({in[2 * i], in[2 * i + 1]}, preprocess, i);
            out[2 * i] = grid.rows;
            out[2 * i + 1] = grid.cols;
          }
        }
        return grids;
      },
      py::arg("sizes").noconvert(), py::kw_only(), py::arg("patch_px"), py::arg("sizing"),
      py::arg("max_tokens_per_image") = 0,
      "int32 [images, 2] (rows, cols) of images of int32 [images, 2] (height_px, width_px). `sizing`: JSON, as "
      "preprocess.sizing in a manifest.");
}

}  // namespace navit_edge::bindings

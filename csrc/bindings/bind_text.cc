// Engines for texts: ids in, embeddings out, as programs in C++ run them.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/text_encoder.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

using Ids = py::array_t<std::int32_t, py::array::c_style>;

std::span<const std::int32_t> values_of(const Ids& ids) { return {ids.data(), static_cast<std::size_t>(ids.size())}; }

}  // namespace

void bind_text(py::module_& module) {
  py::class_<TextEncoder>(module, "TextEncoder")
      .def(py::init([](const std::filesystem::path& bundle, const std::string& engine, int threads,
                       std::vector<std::filesystem::path> vendor_dirs) {
             TextEncoderOptions options;
             options.engine = engine;
             options.threads = threads;
             options.search.vendor_dirs = std::move(vendor_dirs);
             options.search.install = {{"openvino", "pip install \"navit-edge[openvino]\""}};
             const ReleasedGil release;
             return std::make_unique<TextEncoder>(bundle, options);
           }),
           py::arg("bundle"), py::kw_only(), py::arg("engine"), py::arg("threads") = 0, py::arg("vendor_dirs"))
      .def_property_readonly("engine", &TextEncoder::engine)
      .def_property_readonly("tokens", &TextEncoder::tokens)
      .def(
          "embed",
          [](TextEncoder& encoder, const Ids& ids, const Ids& mask) {
            std::vector<float> rows;
            {
              const ReleasedGil release;
              rows = encoder.embed(values_of(ids),
                                   encoder.masks_padding() ? values_of(mask) : std::span<const std::int32_t>{});
            }
            const auto width = static_cast<py::ssize_t>(encoder.width());
            py::array_t<float> out({static_cast<py::ssize_t>(rows.size()) / width, width});
            std::copy(rows.begin(), rows.end(), out.mutable_data());
            return out;
          },
          py::arg("ids").noconvert(), py::arg("mask").noconvert());
}

}  // namespace navit_edge::bindings

// Packing on its own, without a bundle: images become the inputs of a graph.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "bindings.h"
#include "navit_edge/pack.h"
#include "navit_edge/sizing.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

/// A graph with every input that a pack can fill.
GraphSpec whole_contract(std::int32_t patch_px, std::int32_t channels) {
  const Dim tokens{'T', 0};
  const Dim images{'N', 0};
  const auto fixed = [](std::int64_t extent) { return Dim{'\0', extent}; };
  GraphSpec graph;
  graph.id = "pack";
  graph.inputs = {{"patches", DType::kUInt8, {tokens, fixed(std::int64_t{patch_px} * patch_px * channels)}},
                  {"positions", DType::kInt32, {tokens, fixed(2)}},
                  {"segment_ids", DType::kInt32, {tokens}},
                  {"grid_hw", DType::kInt32, {images, fixed(2)}},
                  {"attention_index", DType::kInt32, {images, {'L', 0}}},
                  {"token_index", DType::kInt32, {tokens}},
                  {"cu_seqlens", DType::kInt32, {{'N', 1}}}};
  return graph;
}

/// An array that owns its memory through the tensor.
py::array array_of(HostTensor&& tensor) {
  auto owner = std::make_unique<HostTensor>(std::move(tensor));
  HostTensor& kept = *owner;
  const py::capsule capsule(owner.get(), [](void* p) { delete static_cast<HostTensor*>(p); });
  owner.release();
  const py::dtype dtype = kept.dtype() == DType::kUInt8 ? py::dtype::of<std::uint8_t>() : py::dtype::of<std::int32_t>();
  return {dtype, std::vector<py::ssize_t>(kept.shape().begin(), kept.shape().end()), kept.data(), capsule};
}

}  // namespace

void bind_pack(py::module_& module) {
  module.def(
      "pack",
      [](const py::list& images, const std::vector<std::pair<std::int32_t, std::int32_t>>& grids, std::int32_t patch_px,
         std::int32_t prefix_tokens, const std::string& filter, std::int32_t pad_tokens, std::int32_t pad_images,
         const std::string& sizing, const std::string& alpha, const std::array<std::uint8_t, 3>& background,
         int threads) {
        std::vector<ImageView> views;
        for (std::size_t i = 0; i < images.size(); ++i) {
          views.push_back(image_view(images[i], "image " + std::to_string(i)));
        }
        PreprocessSpec preprocess;
        preprocess.patch_px = patch_px;
        preprocess.filter = filter;
        preprocess.alpha = alpha;
        preprocess.background = background;
        if (!sizing.empty()) preprocess.sizing = parse_sizing(sizing, patch_px);
        ModelSpec model;
        model.prefix_tokens = prefix_tokens;
        std::vector<Grid> targets;
        PackPlan plan;
        for (const auto& [rows, cols] : grids) {
          plan.images.push_back(static_cast<std::int32_t>(targets.size()));
          targets.push_back({rows, cols});
        }
        const bool dynamic_tokens = pad_tokens == 0;
        const Budget budget{dynamic_tokens ? std::numeric_limits<std::int32_t>::max() : pad_tokens,
                            dynamic_tokens ? std::numeric_limits<std::int32_t>::max() : pad_images, 0, 0};
        Pack pack;
        {
          py::gil_scoped_release release;
          write_pack(plan, views, targets, preprocess, model, whole_contract(patch_px, preprocess.channels), budget,
                     dynamic_tokens, threads, pack);
        }
        py::dict out;
        for (HostTensor& tensor : pack.inputs) {
          const std::string name = tensor.name();
          out[py::str(name)] = array_of(std::move(tensor));
        }
        return out;
      },
      py::arg("images"), py::kw_only(), py::arg("grids"), py::arg("patch_px"), py::arg("prefix_tokens"),
      py::arg("filter"), py::arg("pad_tokens"), py::arg("pad_images"), py::arg("sizing"), py::arg("alpha"),
      py::arg("background"), py::arg("threads"));
}

}  // namespace navit_edge::bindings

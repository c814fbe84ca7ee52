// Packing on its own: the inputs that a graph of a bundle gets, for those who run the graph elsewhere.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <algorithm>
#include <cstring>

#include "bindings.h"
#include "navit_edge/error.h"
#include "navit_edge/pack.h"
#include "navit_edge/plan.h"
#include "navit_edge/sizing.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

py::dtype numpy_dtype(DType dtype) {
  switch (dtype) {
    case DType::kFloat32:
      return py::dtype::of<float>();
    case DType::kFloat16:
      return py::dtype("float16");
    case DType::kUInt8:
      return py::dtype::of<std::uint8_t>();
    case DType::kInt32:
      return py::dtype::of<std::int32_t>();
    case DType::kBFloat16:
      break;
  }
  throw InvalidInput("an input of the graph is bfloat16, which numpy lacks; expected uint8, int32, float16 or float32");
}

py::array array_of(const HostTensor& tensor) {
  py::array array(numpy_dtype(tensor.dtype()), std::vector<py::ssize_t>(tensor.shape().begin(), tensor.shape().end()));
  std::memcpy(array.mutable_data(), tensor.data(), tensor.bytes());
  return array;
}

/// Preprocessing, planning and packing of one bundle, as a session does them.
class Packer {
 public:
  Packer(const std::filesystem::path& bundle, const std::string& graph, const Budget& budget,
         const std::string& strategy, bool dynamic_tokens, int threads)
      : manifest_(Manifest::load(bundle)),
        graph_(manifest_.graph(graph)),
        dynamic_tokens_(dynamic_tokens),
        threads_(threads) {
    limits_.budgets = {budget};
    limits_.strategy = parse_strategy(strategy);
    if (budget.tokens < 1 || budget.images < 1 || budget.target_tokens < 1 || budget.target_tokens > budget.tokens) {
      throw InvalidInput("a budget of " + std::to_string(budget.tokens) + " tokens, " + std::to_string(budget.images) +
                         " images and target_tokens " + std::to_string(budget.target_tokens) +
                         "; expected 1 and up, and target_tokens no larger than tokens");
    }
  }

  [[nodiscard]] std::int64_t tokens_of(std::int32_t height_px, std::int32_t width_px) const {
    return resize_target({height_px, width_px}, manifest_.preprocess).tokens() + manifest_.model.prefix_tokens;
  }

  [[nodiscard]] py::list pack(const py::list& arrays) const {
    std::vector<ImageView> images;
    for (std::size_t i = 0; i < arrays.size(); ++i)
      images.push_back(image_view(arrays[i], "image " + std::to_string(i)));
    std::vector<Grid> grids;
    std::vector<std::int32_t> token_counts;
    for (const ImageView& image : images) {
      grids.push_back(resize_target(image.size(), manifest_.preprocess));
      token_counts.push_back(static_cast<std::int32_t>(grids.back().tokens() + manifest_.model.prefix_tokens));
    }
    py::list packs;
    Pack made;  // its memory is used again
    for (const PackPlan& plan : plan_packs(token_counts, limits_).packs) {
      {
        const py::gil_scoped_release release;
        write_pack(plan, images, grids, manifest_.preprocess, manifest_.model, graph_, limits_.budgets.front(),
                   dynamic_tokens_, threads_, made);
      }
      packs.append(describe(made));
    }
    return packs;
  }

 private:
  [[nodiscard]] py::dict describe(const Pack& pack) const {
    py::dict inputs;
    for (const HostTensor& tensor : pack.inputs) inputs[py::str(tensor.name())] = array_of(tensor);
    py::list segments;
    for (const Segment& segment : pack.segments) {
      segments.append(
          py::make_tuple(segment.image, segment.first_token, segment.grid.tokens() + manifest_.model.prefix_tokens));
    }
    return py::dict(py::arg("inputs") = inputs, py::arg("segments") = segments,
                    py::arg("used_tokens") = pack.used_tokens);
  }

  Manifest manifest_;
  GraphSpec graph_;
  PlanLimits limits_;
  bool dynamic_tokens_;
  int threads_;
};

}  // namespace

void bind_packer(py::module_& module) {
  py::class_<Packer>(module, "Packer", "Images to the inputs of one of a bundle's graphs, as a session makes them.")
      .def(py::init([](const std::filesystem::path& bundle, const std::string& graph, std::int32_t max_tokens,
                       std::int32_t max_images, std::int32_t target_tokens, const std::string& strategy,
                       bool dynamic_tokens, int threads) {
             Budget budget;
             budget.tokens = max_tokens;
             budget.images = max_images;
             budget.target_tokens = target_tokens;
             return std::make_unique<Packer>(bundle, graph, budget, strategy, dynamic_tokens, threads);
           }),
           py::arg("bundle"), py::arg("graph"), py::kw_only(), py::arg("max_tokens"), py::arg("max_images"),
           py::arg("target_tokens"), py::arg("strategy"), py::arg("dynamic_tokens"), py::arg("threads"))
      .def("tokens_of", &Packer::tokens_of, py::arg("height_px"), py::arg("width_px"))
      .def("pack", &Packer::pack, py::arg("images"));
}

}  // namespace navit_edge::bindings

// Packing on its own: images become the inputs of a graph, for those who run the graph elsewhere.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <array>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/error.h"
#include "navit_edge/pack_writer.h"
#include "navit_edge/plan.h"
#include "navit_edge/sizing.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();

/// A graph with the inputs of the contract that are named, or with all if none is.
GraphSpec graph_with(const std::vector<std::string>& inputs, std::int32_t patch_px, std::int32_t frames) {
  const Dim tokens{'T', 0};
  const Dim images{'N', 0};
  const auto fixed = [](std::int64_t extent) { return Dim{'\0', extent}; };
  const std::array<TensorSpec, 7> contract{
      // [GraphInput]
      {{"patches", DType::kUInt8, {tokens, fixed(std::int64_t{kChannels} * patch_px * patch_px * frames)}},
       {"positions", DType::kInt32, {tokens, fixed(2)}},
       {"segment_ids", DType::kInt32, {tokens}},
       {"grid_hw", DType::kInt32, {images, fixed(2)}},
       {"attention_index", DType::kInt32, {images, {'L', 0}}},
       {"token_index", DType::kInt32, {tokens}},
       {"cu_seqlens", DType::kInt32, {{'N', 1}}}}};
  GraphSpec graph;
  graph.id = "pack";
  if (inputs.empty()) graph.inputs.assign(contract.begin(), contract.end());
  for (const std::string& name : inputs) {
    const GraphInput input = parse_word<GraphInput>(name);
    if (input >= GraphInput::kMergeGroups) {
      throw InvalidInput("input " + name + " is of graphs that merge tokens; expected a bundle's packer for it");
    }
    graph.inputs.push_back(contract[static_cast<std::size_t>(input)]);
  }
  return graph;
}

/// Sizing, planning and packing as a session does them. From one thread at a time, or from several.
class Packer {
 public:
  Packer(PackSpec spec, Strategy strategy, int threads) : writer_(std::move(spec)), threads_(threads) {
    limits_.budgets = writer_.spec().budgets;
    limits_.strategy = strategy;
    const Budget& budget = limits_.budgets.front();
    if (budget.tokens < 1 || budget.images < 1 || budget.target_tokens < 1 || budget.target_tokens > budget.tokens) {
      throw InvalidInput("a budget of " + std::to_string(budget.tokens) + " tokens, " + std::to_string(budget.images) +
                         " images and target_tokens " + std::to_string(budget.target_tokens) +
                         "; expected 1 and up, and target_tokens no larger than tokens");
    }
  }

  [[nodiscard]] std::int64_t tokens_of(std::int32_t height_px, std::int32_t width_px) const {
    const PackSpec& spec = writer_.spec();
    return resize_target({height_px, width_px}, spec.preprocess).tokens() + spec.model.prefix_tokens;
  }

  /// One pack of all images, in the order given, without their blank patches if `blank_range` is not below 0. It is
  /// written where the last one was if nobody has its arrays any more.
  [[nodiscard]] py::dict write(const py::list& arrays, const std::vector<std::pair<std::int32_t, std::int32_t>>& sides,
                               std::int32_t blank_range) {
    std::vector<Grid> grids;
    PackPlan plan;
    for (const auto& [rows, cols] : sides) {
      plan.images.push_back(static_cast<std::int32_t>(grids.size()));
      grids.push_back({rows, cols});
    }
    const std::vector<Dropping> drops(blank_range < 0 ? 0 : grids.size(), Dropping{nullptr, blank_range});
    return arrays_of(written(plan, views_of(arrays), grids, drops));
  }

  /// As many packs as the images need.
  [[nodiscard]] py::list pack(const py::list& arrays) {
    const std::vector<ImageView> images = views_of(arrays);
    const std::int32_t prefix_tokens = writer_.spec().model.prefix_tokens;
    std::vector<Grid> grids;
    std::vector<std::int32_t> token_counts;
    for (const ImageView& image : images) {
      grids.push_back(resize_target(image.size(), writer_.spec().preprocess));
      token_counts.push_back(static_cast<std::int32_t>(grids.back().tokens()) + prefix_tokens);
    }
    py::list packs;
    for (const PackPlan& plan : plan_packs(token_counts, limits_).packs) {
      const std::shared_ptr<Pack> pack = written(plan, images, grids);
      py::list segments;
      for (const Segment& one : pack->segments) {
        segments.append(py::make_tuple(one.image, one.first_token, one.grid.tokens() + prefix_tokens));
      }
      packs.append(py::dict(py::arg("inputs") = arrays_of(pack), py::arg("segments") = segments,
                            py::arg("used_tokens") = pack->used_tokens));
    }
    return packs;
  }

 private:
  static std::vector<ImageView> views_of(const py::list& arrays) {
    std::vector<ImageView> views;
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      views.push_back(image_view(arrays[i], "image " + std::to_string(i)));
    }
    return views;
  }

  /// A pack in memory that no array uses any more.
  std::shared_ptr<Pack> written(const PackPlan& plan, const std::vector<ImageView>& images,
                                const std::vector<Grid>& grids, const std::vector<Dropping>& drops = {}) {
    std::shared_ptr<Pack> pack = std::exchange(last_, nullptr);
    if (pack == nullptr || pack.use_count() > 1) pack = std::make_shared<Pack>();
    pack->scratch = std::exchange(scratch_, nullptr);
    {
      const ReleasedGil release;
      writer_.write(plan, images, grids, threads_, *pack, drops);
    }
    scratch_ = std::exchange(pack->scratch, nullptr);  // arrays keep their own bytes alive, no more
    last_ = pack;
    return pack;
  }

  /// Arrays by name that keep the pack alive.
  static py::dict arrays_of(const std::shared_ptr<Pack>& pack) {
    const py::capsule owner(new std::shared_ptr<Pack>(pack),
                            [](void* p) { delete static_cast<std::shared_ptr<Pack>*>(p); });
    py::dict arrays;
    for (HostTensor& tensor : pack->inputs) {
      // The contract has no other types.
      const py::dtype dtype =
          tensor.dtype() == DType::kUInt8 ? py::dtype::of<std::uint8_t>() : py::dtype::of<std::int32_t>();
      const std::vector<py::ssize_t> shape(tensor.shape().begin(), tensor.shape().end());
      arrays[py::str(tensor.name())] = py::array(dtype, shape, tensor.data(), owner);
    }
    return arrays;
  }

  PackWriter writer_;
  PlanLimits limits_;
  int threads_;
  std::shared_ptr<Pack> last_;
  std::shared_ptr<PackScratch> scratch_;
};

Packer of_bundle(const std::filesystem::path& bundle, const std::string& graph, std::int32_t max_tokens,
                 std::int32_t max_images, std::int32_t target_tokens, const std::string& strategy, bool dynamic_tokens,
                 int threads) {
  const Manifest manifest = Manifest::load(bundle);
  const Budget budget{max_tokens, max_images, target_tokens, 0};
  return {{manifest.preprocess, manifest.model, manifest.graph(graph), {budget}, dynamic_tokens},
          parse_word<Strategy>(strategy),
          threads};
}

Packer of_options(const std::vector<std::string>& inputs, std::int32_t patch_px, const std::string& sizing,
                  const std::string& filter, const std::string& processor, const std::string& alpha,
                  const Rgb& background, std::int32_t prefix_tokens, std::int32_t pad_tokens, std::int32_t pad_images,
                  std::int32_t frames, int threads) {
  if (patch_px < 1 || patch_px > 1024 || threads < 1) {
    throw InvalidInput("patch_px is " + std::to_string(patch_px) + " and threads " + std::to_string(threads) +
                       "; expected 1 to 1024, and at least 1");
  }
  PackSpec spec;
  spec.preprocess.patch_px = patch_px;
  spec.preprocess.sizing = parse_sizing(sizing, patch_px);
  spec.preprocess.filter = parse_word<Filter>(filter);
  spec.preprocess.processor = parse_word<Processor>(processor);
  spec.preprocess.alpha = parse_word<Alpha>(alpha);
  spec.preprocess.background = background;
  spec.model.prefix_tokens = prefix_tokens;
  spec.preprocess.frames = frames;
  spec.graph = graph_with(inputs, patch_px, frames);
  spec.dynamic_tokens = pad_tokens == 0;
  spec.budgets = {spec.dynamic_tokens ? Budget{kMost, kMost, kMost} : Budget{pad_tokens, pad_images, pad_tokens}};
  return {std::move(spec), Strategy::kFifo, threads};
}

}  // namespace

void bind_packer(py::module_& module) {
  py::class_<Packer>(module, "Packer", "Images to the inputs of a graph: made once, packs as often as you like.")
      .def(py::init(&of_bundle), py::arg("bundle"), py::arg("graph"), py::kw_only(), py::arg("max_tokens"),
           py::arg("max_images"), py::arg("target_tokens"), py::arg("strategy"), py::arg("dynamic_tokens"),
           py::arg("threads"))
      .def_static("of", &of_options, py::kw_only(), py::arg("inputs") = py::tuple(), py::arg("patch_px"),
                  py::arg("sizing"), py::arg("filter") = "bilinear", py::arg("processor") = "pillow",
                  py::arg("alpha") = "drop", py::arg("background") = py::make_tuple(255, 255, 255),
                  py::arg("prefix_tokens") = 0, py::arg("pad_tokens") = 0, py::arg("pad_images") = 0,
                  py::arg("frames") = 1, py::arg("threads") = 1)
      .def("write", &Packer::write, py::arg("images"), py::arg("grids"), py::kw_only(), py::arg("blank_range") = -1)
      .def("tokens_of", &Packer::tokens_of, py::arg("height_px"), py::arg("width_px"))
      .def("pack", &Packer::pack, py::arg("images"));
}

}  // namespace navit_edge::bindings

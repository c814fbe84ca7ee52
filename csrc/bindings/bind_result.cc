// navit_edge.Result.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "gil.h"
#include "py_result.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

/// A method that Python has: of navit_edge/result.py, given the result and its own arguments.
template <class... Args>
auto in_python(const char* name) {
  return [name](const py::object& self, const Args&... args) -> py::object {
    return py::module_::import("navit_edge.result").attr(name)(self, args...);
  };
}

/// Result::on_image of values [n, cols]: [height_px, width_px, cols].
py::array_t<float> map_on_image(const PyResult& self, const py::array_t<float, py::array::c_style>& values,
                                const std::string& filter, float fill, std::pair<std::int32_t, std::int32_t> size) {
  const MapOptions options{parse_word<Filter>(filter), fill, {size.first, size.second}};
  const auto cols = static_cast<std::int64_t>(values.shape(1));
  const std::span<const float> given(values.data(), static_cast<std::size_t>(values.size()));
  auto found = std::make_unique<std::vector<float>>();
  {
    ReleasedGil release;
    *found = self.result.on_image(given, cols, options);
  }
  const Size out = options.size == Size{} ? self.result.image : options.size;
  const std::vector<py::ssize_t> shape{out.height_px, out.width_px, static_cast<py::ssize_t>(cols)};
  const float* data = found->data();
  const py::capsule owner(found.get(), [](void* p) { delete static_cast<std::vector<float>*>(p); });
  found.release();
  return py::array_t<float>(shape, data, owner);
}

}  // namespace

py::object array_of(const Result& result, GraphOutput kind) {
  const OutputView& view = result.output(kind);
  const bool flat = kind == GraphOutput::kLogits || kind == GraphOutput::kEmbedding;
  const bool layered = kind == GraphOutput::kDeepstack;
  if (view.empty()) return py::none();
  auto owner = std::make_unique<std::shared_ptr<const void>>(view.owner);
  const py::capsule capsule(owner.get(), [](void* p) { delete static_cast<std::shared_ptr<const void>*>(p); });
  owner.release();
  std::vector<py::ssize_t> shape;
  if (!flat) shape.push_back(static_cast<py::ssize_t>(view.rows));
  if (layered) shape.push_back(static_cast<py::ssize_t>(view.layers));
  shape.push_back(static_cast<py::ssize_t>(view.cols));
  py::array_t<float> array(shape, view.data, capsule);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

PyResult py_result(Result&& result, PyClasses classes) {
  PyResult out;
  out.error = python_error(result.error);
  result.own_outputs();
  out.result = std::move(result);
  out.classes = std::move(classes);
  return out;
}

std::string sizing_words(const PyResult& result) {
  return result.unpickled_sizing.empty() ? result.result.reason.to_string() : result.unpickled_sizing;
}

void bind_result(py::module_& module) {
  py::class_<PyResult> cls(
      module, "Result",
      "What one image gave. ``logits`` and ``embedding`` are its own; the others are views that keep the outputs of "
      "the whole\npack, as the result does: of a bundle that gives tokens keep arrays, or ``copy.deepcopy(result)``.");
  bind_result_state(cls);
  cls.def_static(
         "failed",
         [](py::object error, std::int64_t index) {
           PyResult result;
           result.error = std::move(error);
           result.index = index;
           return result;
         },
         py::arg("error"), py::arg("index") = -1)
      .def_readonly("lost", &PyResult::lost,
                    "True if memory ran out while the result was handed over: it holds neither outputs nor an error.")
      .def_property_readonly(
          "logits", [](const PyResult& self) { return array_of(self.result, GraphOutput::kLogits); },
          "float32 [classes], read-only; None if the bundle gives none, or the image failed.")
      .def_property_readonly(
          "embedding", [](const PyResult& self) { return array_of(self.result, GraphOutput::kEmbedding); },
          "float32 [D], read-only; None if the bundle gives none, or the image failed.")
      .def_property_readonly(
          "tokens", [](const PyResult& self) { return array_of(self.result, GraphOutput::kTokens); },
          "float32 [rows * cols, D], read-only, row-major over ``grid``, without prefix tokens; [rows * cols / 4, D] "
          "of a model that merges 2 x 2 patches;\n[len(kept), D] where patches were dropped; None as above.")
      .def_property_readonly(
          "kept",
          [](const PyResult& self) -> std::optional<py::array_t<std::int32_t>> {
            const auto& kept = self.result.kept;
            if (kept == nullptr) return std::nullopt;
            py::array_t<std::int32_t> array(static_cast<py::ssize_t>(kept->size()), kept->data());
            array.attr("setflags")(py::arg("write") = false);
            return array;
          },
          "int32 [n], read-only: the patches that the model saw, by their numbers on ``grid``, row-major and "
          "ascending; "
          "None: all of them.")
      .def_property_readonly(
          "projected", [](const PyResult& self) { return array_of(self.result, GraphOutput::kProjected); },
          "float32 [rows * cols / m^2, D], read-only: the tokens behind the projector of the whole model, which merges "
          "m "
          "x m patches,\nas its language model takes them; None as above.")
      .def_property_readonly(
          "deepstack", [](const PyResult& self) { return array_of(self.result, GraphOutput::kDeepstack); },
          "float32 [rows * cols / 4, layers, D], read-only: of middle blocks, which the language model adds to the "
          "hidden states of\nits first layers; None as above.")
      .def_property_readonly(
          "attention_map", [](const PyResult& self) { return array_of(self.result, GraphOutput::kAttentionMap); },
          "float32 [rows * cols, maps], read-only: how much the attention behind the embedding looks at each patch, "
          "the "
          "mean of the\nheads, or a map for each head (docs/maps.md); None as above.")
      .def_property_readonly(
          "pixels",
          [](const PyResult& self) { return py::make_tuple(self.result.image.height_px, self.result.image.width_px); },
          "(height_px, width_px) of the image as it was given, upright.")
      .def_property_readonly(
          "grid", [](const PyResult& self) { return py::make_tuple(self.result.grid.rows, self.result.grid.cols); },
          "(rows, cols): the image as it was run, in patches.")
      .def_property_readonly(
          "scale",
          [](const PyResult& self) {
            const Placement& placement = self.result.placement;
            return py::make_tuple(placement.scale_y, placement.scale_x);
          },
          "(y, x): pixels of the grid for one pixel of the image.")
      .def_property_readonly(
          "offset",
          [](const PyResult& self) {
            const Placement& placement = self.result.placement;
            return py::make_tuple(placement.top_px, placement.left_px);
          },
          "(top_px, left_px): where the image begins on the grid, in pixels. Negative: so much was cut off.")
      .def_property_readonly(
          "token_count", [](const PyResult& self) { return self.result.tokens; },
          "Tokens that the image took in its pack, prefix tokens included.")
      .def_property_readonly(
          "total_token_count", [](const PyResult& self) { return self.result.total_tokens; },
          "The same of all passes: more than ``token_count`` if a cascade ran the image twice.")
      .def_property_readonly(
          "pack", [](const PyResult& self) { return self.result.pack; },
          "Number of its pack: in its run, or among all packs of submitted images. -1: it was in none.")
      .def_property_readonly(
          "cached", [](const PyResult& self) { return self.result.cached; },
          "True if it was computed for another image of the same content (docs/cache.md): it was in no pack.")
      .def_property_readonly(
          "first_token", [](const PyResult& self) { return self.result.first_token; },
          "Where the image begins in its pack: the row of its first token.")
      .def_property_readonly(
          "pack_tokens", [](const PyResult& self) { return self.result.pack_tokens; },
          "Tokens that its pack was computed on, padding included. 0: it was in none.")
      .def_property_readonly(
          "latency_ms", [](const PyResult& self) { return self.result.latency_us / 1000.0; },
          "Milliseconds from the start of its pack's preprocessing to the pack's outputs.")
      .def_property_readonly(
          "queue_ms", [](const PyResult& self) { return self.result.queue_us / 1000.0; },
          "Milliseconds from ``submit``, or from the start of the run, to the start of its pack's preprocessing.")
      .def_property_readonly(
          "reason",
          [](const PyResult& self) {
            const std::string sizing = sizing_words(self);
            return self.decoding + (self.decoding.empty() || sizing.empty() ? "" : "; ") + sizing;
          },
          "What was done to the image, in words: ``decoding``, then ``sizing``. \"\": nothing.")
      .def_property_readonly(
          "sizing", &sizing_words,
          "Why it has fewer tokens than the bundle's sizing rule gives, in words. \"\": it has them all.")
      .def_property_readonly(
          "labels",
          [](const PyResult& self) {
            const py::object& labels = self.classes.labels;
            return labels.is_none() ? py::tuple() : py::tuple(labels);
          },
          "Class names of the bundle; empty if it has none.")
      .def_property_readonly(
          "scores", [](const PyResult& self) { return word_of(self.classes.scores); },
          "What the score of a class is: \"softmax\" over all logits, or the \"sigmoid\" of its own.")
      .def("top_k", in_python<py::object>("top_k"), py::arg("k") = 5,
           "The ``k`` classes of the highest logits, best first, with index, label, score and logit. ``score`` is the "
           "softmax over all\nclasses, or the sigmoid of each (``scores``); ``label`` is \"\" if the bundle has none. "
           "Raises InvalidInputError if there are "
           "no logits.")
      .def(
          "to_dict", in_python<py::object>("to_dict"), py::kw_only(), py::arg("top_k") = 3,
          "Plain values, ready for JSON, by the names of the rows of ``navit-edge run`` (docs/run.md); without arrays.")
      .def("numpy", in_python<py::object>("numpy"), py::kw_only(), py::arg("copy") = false,
           "The arrays that there are, by name: \"logits\", \"embedding\", \"tokens\", \"projected\", \"deepstack\", "
           "\"attention_map\". With ``copy`` writable ones of their own, as\n``torch.from_numpy`` wants them; else "
           "those of the attributes.")
      .def("on_grid", in_python<py::object, py::object>("on_grid"), py::arg("values") = py::none(), py::kw_only(),
           py::arg("fill") = 0.0,
           "``values`` [patches, ...], a row for each patch that the model saw, as an array [rows, cols, ...] with "
           "``fill`` where a patch\nwas dropped; None: ``tokens``. Raises InvalidInputError.")
      .def("on_image", in_python<py::object, py::object, py::object, py::object>("on_image"),
           py::arg("values") = py::none(), py::kw_only(), py::arg("filter") = "bilinear",
           py::arg("fill") = std::numeric_limits<double>::quiet_NaN(), py::arg("size") = py::none(),
           "``values`` as pixels of the image, float32 [height_px, width_px, ...], as it was given: what the sizing "
           "rule "
           "did is undone,\n``fill`` where there is no data (docs/maps.md). Raises InvalidInputError.")
      .def("__repr__", in_python<>("describe"))
      .def_readwrite("decoding", &PyResult::decoding, "What decoding did to the image, in words. \"\": nothing.")
      .def_readonly("index", &PyResult::index, "Place in the list or the source, from 0. -1: it was submitted alone.")
      .def_readwrite("tag", &PyResult::tag, "What the caller gave with the image, or None.")
      .def_readwrite("error", &PyResult::error, "The image's exception; then it has no outputs. None: it has them.");
  module.def("map_on_image", &map_on_image, py::arg("result"), py::arg("values"), py::arg("filter"), py::arg("fill"),
             py::arg("size"));
}

}  // namespace navit_edge::bindings

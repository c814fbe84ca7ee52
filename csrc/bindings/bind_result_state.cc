// Copies of navit_edge.Result, in memory and as pickles. What is deep holds nothing of a pack or a session.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "bindings.h"
#include "py_result.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

using Floats = py::array_t<float, py::array::c_style | py::array::forcecast>;

constexpr std::array<GraphOutput, 4> kPerToken{GraphOutput::kTokens, GraphOutput::kProjected, GraphOutput::kDeepstack,
                                               GraphOutput::kAttentionMap};

PyResult deep_copy(const PyResult& self, const py::dict& memo) {
  PyResult copy = self;
  copy.result.own_rows();
  for (const GraphOutput kind : kPerToken) copy.result.output(kind) = copy.result.output(kind).copied();
  copy.tag = py::module_::import("copy").attr("deepcopy")(self.tag, memo);
  return copy;
}

py::object kept_of(const Result& result) {
  return result.kept != nullptr ? py::object(py::cast(*result.kept)) : py::none();
}

py::dict state_of(const PyResult& self) {
  const Result& result = self.result;
  const Placement& at = result.placement;
  return py::dict(
      py::arg("logits") = array_of(result, GraphOutput::kLogits),
      py::arg("embedding") = array_of(result, GraphOutput::kEmbedding),
      py::arg("tokens") = array_of(result, GraphOutput::kTokens),
      py::arg("projected") = array_of(result, GraphOutput::kProjected),
      py::arg("deepstack") = array_of(result, GraphOutput::kDeepstack),
      py::arg("attention_map") = array_of(result, GraphOutput::kAttentionMap),
      py::arg("pixels") = py::make_tuple(result.image.height_px, result.image.width_px),
      py::arg("grid") = py::make_tuple(result.grid.rows, result.grid.cols),
      py::arg("placement") = py::make_tuple(at.resized, at.top_px, at.left_px, at.scale_y, at.scale_x),
      py::arg("patch_px") = at.patch_px, py::arg("token_count") = result.tokens, py::arg("pack") = result.pack,
      py::arg("pack_rows") = py::make_tuple(result.first_token, result.pack_tokens),
      py::arg("times_us") = py::make_tuple(result.latency_us, result.queue_us), py::arg("sizing") = sizing_words(self),
      py::arg("decoding") = self.decoding, py::arg("index") = self.index, py::arg("tag") = self.tag,
      py::arg("labels") = self.classes.labels, py::arg("scores") = word_of(self.classes.scores),
      py::arg("error") = self.error, py::arg("lost") = self.lost, py::arg("cached") = result.cached,
      py::arg("total_token_count") = result.total_tokens, py::arg("kept") = kept_of(result));
}

OutputView view_of(const py::object& values) {
  if (values.is_none()) return {};
  const auto array = values.cast<Floats>();
  const auto cols = static_cast<std::int64_t>(array.shape(array.ndim() - 1));
  if (cols == 0) return {};
  const auto layers = array.ndim() == 3 ? static_cast<std::int64_t>(array.shape(1)) : 1;
  if (layers == 0) return {};
  const std::int64_t rows = static_cast<std::int64_t>(array.size()) / (layers * cols);
  return OutputView{nullptr, array.data(), rows, cols, layers}.copied();
}

PyResult from_state(const py::dict& state) {
  PyResult self;
  Result& result = self.result;
  Placement& at = result.placement;
  for (std::size_t i = 0; i < kWords<GraphOutput>.words.size(); ++i) {
    const auto kind = value_at<GraphOutput>(i);
    const std::string name(word_of(kind));
    if (state.contains(name)) result.output(kind) = view_of(state[name.c_str()]);  // older pickles have fewer
  }
  std::tie(result.image.height_px, result.image.width_px) =
      state["pixels"].cast<std::pair<std::int32_t, std::int32_t>>();
  std::tie(result.grid.rows, result.grid.cols) = state["grid"].cast<std::pair<std::int32_t, std::int32_t>>();
  std::tie(at.resized, at.top_px, at.left_px, at.scale_y, at.scale_x) =
      state["placement"].cast<std::tuple<bool, std::int32_t, std::int32_t, double, double>>();
  if (state.contains("patch_px")) at.patch_px = state["patch_px"].cast<std::int32_t>();
  result.tokens = state["token_count"].cast<std::int32_t>();
  result.total_tokens = result.tokens;
  if (state.contains("total_token_count")) result.total_tokens = state["total_token_count"].cast<std::int32_t>();
  result.pack = state["pack"].cast<std::int32_t>();
  std::tie(result.first_token, result.pack_tokens) = state["pack_rows"].cast<std::pair<std::int32_t, std::int32_t>>();
  std::tie(result.latency_us, result.queue_us) = state["times_us"].cast<std::pair<double, double>>();
  self.unpickled_sizing = state["sizing"].cast<std::string>();
  self.decoding = state["decoding"].cast<std::string>();
  self.index = state["index"].cast<std::int64_t>();
  self.tag = state["tag"];
  self.classes.labels = state["labels"];
  if (state.contains("scores")) self.classes.scores = parse_word<Scores>(state["scores"].cast<std::string>());
  self.error = state["error"];
  self.lost = state["lost"].cast<bool>();
  if (state.contains("kept") && !state["kept"].is_none()) {
    result.kept = std::make_shared<const KeptPatches>(state["kept"].cast<KeptPatches>());
  }
  if (state.contains("cached")) result.cached = state["cached"].cast<bool>();
  return self;
}

}  // namespace

void bind_result_state(py::class_<PyResult>& result) {
  result.def("__copy__", [](const PyResult& self) { return PyResult(self); })
      .def("__deepcopy__", &deep_copy, py::arg("memo"))
      .def(py::pickle(&state_of, &from_state));
}

}  // namespace navit_edge::bindings

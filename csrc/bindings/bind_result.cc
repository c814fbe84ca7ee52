// navit_edge.Result. Arrays are views that keep the pack's output alive.
#include <pybind11/numpy.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bindings.h"
#include "py_result.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

/// A read-only numpy view; the capsule holds the pack's output.
py::object array_of(const OutputView& view, bool flat) {
  if (view.empty()) return py::none();
  auto owner = std::make_unique<std::shared_ptr<const HostTensor>>(view.owner);
  const py::capsule capsule(owner.get(), [](void* p) { delete static_cast<std::shared_ptr<const HostTensor>*>(p); });
  owner.release();
  std::vector<py::ssize_t> shape;
  if (!flat) shape.push_back(static_cast<py::ssize_t>(view.rows));
  shape.push_back(static_cast<py::ssize_t>(view.cols));
  py::array_t<float> array(shape, view.data, capsule);
  array.attr("setflags")(py::arg("write") = false);
  return array;
}

}  // namespace

PyResult py_result(Result&& result) {
  PyResult out;
  out.error = python_error(result.error);
  out.result = std::move(result);
  return out;
}

void bind_result(py::module_& module) {
  py::class_<PyResult>(module, "Result", "What one image gave. Arrays are read-only float32 views.")
      .def_static(
          "failed",
          [](py::object error, std::int64_t index) {
            PyResult result;
            result.error = std::move(error);
            result.index = index;
            return result;
          },
          py::arg("error"), py::arg("index") = -1)
      .def_readonly("lost", &PyResult::lost)
      .def_property_readonly("logits", [](const PyResult& self) { return array_of(self.result.logits, true); })
      .def_property_readonly("embedding", [](const PyResult& self) { return array_of(self.result.embedding, true); })
      .def_property_readonly("tokens", [](const PyResult& self) { return array_of(self.result.token_features, false); })
      .def_property_readonly(
          "pixels",
          [](const PyResult& self) { return py::make_tuple(self.result.image.height_px, self.result.image.width_px); })
      .def_property_readonly(
          "grid", [](const PyResult& self) { return py::make_tuple(self.result.grid.rows, self.result.grid.cols); })
      .def_property_readonly("scale",
                             [](const PyResult& self) {
                               const Placement& placement = self.result.placement;
                               return py::make_tuple(placement.scale_y, placement.scale_x);
                             })
      .def_property_readonly("offset",
                             [](const PyResult& self) {
                               const Placement& placement = self.result.placement;
                               return py::make_tuple(placement.top_px, placement.left_px);
                             })
      .def_property_readonly("token_count", [](const PyResult& self) { return self.result.tokens; })
      .def_property_readonly("pack", [](const PyResult& self) { return self.result.pack; })
      .def_property_readonly("latency_ms", [](const PyResult& self) { return self.result.latency_us / 1000.0; })
      .def_property_readonly("queue_ms", [](const PyResult& self) { return self.result.queue_us / 1000.0; })
      .def_property_readonly("reason",
                             [](const PyResult& self) {
                               const std::string sizing = self.result.reason.to_string();
                               return self.decoding + (self.decoding.empty() || sizing.empty() ? "" : "; ") + sizing;
                             })
      .def_property_readonly("sizing", [](const PyResult& self) { return self.result.reason.to_string(); })
      .def_readwrite("decoding", &PyResult::decoding)
      .def_readonly("index", &PyResult::index)
      .def_readwrite("tag", &PyResult::tag)
      .def_readwrite("error", &PyResult::error);
}

}  // namespace navit_edge::bindings

// Session and its results. Arrays are views that keep the pack's output alive; the GIL is released while computing.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <optional>

#include "bindings.h"
#include "navit_edge/session.h"

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

struct PyResult {
  Result result;
  py::object error = py::none();
};

py::dict report_dict(const RunReport& report) {
  py::list packs;
  for (const auto& pack : report.packs) {
    packs.append(py::dict(py::arg("images") = pack.images, py::arg("tokens") = pack.tokens,
                          py::arg("capacity") = pack.capacity, py::arg("budget_tokens") = pack.budget_tokens,
                          py::arg("start_us") = pack.start_us, py::arg("preprocess_us") = pack.preprocess_us,
                          py::arg("engine_us") = pack.engine_us, py::arg("unpack_us") = pack.unpack_us,
                          py::arg("predicted_us") = pack.predicted_us, py::arg("slot") = pack.slot,
                          py::arg("engine") = pack.engine));
  }
  return py::dict(py::arg("packs") = packs, py::arg("most_in_flight") = report.most_in_flight,
                  py::arg("plan_us") = report.plan_us, py::arg("total_us") = report.total_us,
                  py::arg("predicted_us") = report.predicted_us, py::arg("cost_measured") = report.cost_measured);
}

void bind_result(py::module_& module) {
  py::class_<PyResult>(module, "Result", "What one image gave. Arrays are read-only float32 views.")
      .def_static(
          "failed",
          [](py::object error) {
            PyResult result;
            result.error = std::move(error);
            return result;
          },
          py::arg("error"))
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
      .def_property_readonly("reason", [](const PyResult& self) { return self.result.reason.to_string(); })
      .def_readonly("error", &PyResult::error);
}

}  // namespace

void bind_session(py::module_& module) {
  bind_result(module);
  py::class_<Session>(module, "Session")
      .def(py::init([](const std::filesystem::path& bundle, const std::string& device, const std::string& engine,
                       const std::string& precision, int threads, int slots, std::int32_t max_tokens_per_image,
                       const std::string& strategy, const std::string& overflow, const Policy& policy,
                       std::vector<std::filesystem::path> backend_dirs, std::vector<std::filesystem::path> vendor_dirs,
                       std::map<std::string, std::string> options) {
             SessionOptions session;
             session.device = device;
             session.engine = engine;
             session.precision = precision;
             session.threads = threads;
             session.slots = slots;
             session.max_tokens_per_image = max_tokens_per_image;
             session.strategy = strategy;
             session.overflow = overflow;
             session.policy = policy;
             session.search.explicit_dirs = std::move(backend_dirs);
             session.search.vendor_dirs = std::move(vendor_dirs);
             session.backend = std::move(options);
             py::gil_scoped_release release;
             return std::make_unique<Session>(bundle, std::move(session));
           }),
           py::arg("bundle"), py::kw_only(), py::arg("device"), py::arg("engine"), py::arg("precision"),
           py::arg("threads"), py::arg("slots"), py::arg("max_tokens_per_image"), py::arg("strategy"),
           py::arg("overflow"), py::arg("policy"), py::arg("backend_dirs"), py::arg("vendor_dirs"), py::arg("options"))
      .def(
          "run",
          [](Session& self, const py::list& images, const std::optional<Policy>& policy) {
            std::vector<ImageView> views;
            views.reserve(images.size());
            for (std::size_t i = 0; i < images.size(); ++i) {
              // None keeps its place, so that indices in messages are the caller's; it fails as an empty image does.
              views.push_back(images[i].is_none() ? ImageView{} : image_view(images[i], "image " + std::to_string(i)));
            }
            RunReport report;
            std::vector<Result> results;
            {
              py::gil_scoped_release release;
              results = self.run(views, &report, {nullptr, policy});
            }
            py::list out;
            for (auto& result : results) {
              py::object error = python_error(result.error);
              out.append(PyResult{std::move(result), std::move(error)});
            }
            return py::make_tuple(out, report_dict(report));
          },
          py::arg("images"), py::kw_only(), py::arg("policy"))
      .def_property_readonly("engine", [](const Session& self) { return self.engine().id; })
      .def_property_readonly("precision", [](const Session& self) { return self.engine().precision; })
      .def_property_readonly("slots", [](const Session& self) { return self.slots(); })
      .def_property_readonly("device", [](const Session& self) { return self.device(); })
      .def("engine_report", [](const Session& self) { return py::bytes(self.engine_report()); })
      .def_property_readonly("labels", [](const Session& self) { return self.manifest().labels; })
      .def_property_readonly("candidates", [](const Session& self) {
        py::list out;
        for (const auto& one : self.candidates()) out.append(py::make_tuple(one.engine, one.usable, one.detail));
        return out;
      });
  module.def(
      "check_image", [](const py::object& image, const std::string& who) { image_view(image, who); }, py::arg("image"),
      py::arg("who"), "Raises InvalidInputError where `image` is not what run() takes.");
}

}  // namespace navit_edge::bindings

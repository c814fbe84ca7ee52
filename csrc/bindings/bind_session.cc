// Session: opening, and running lists. The GIL is released while computing.
#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include <optional>
#include <utility>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/session.h"
#include "py_result.h"
#include "py_session.h"

namespace py = pybind11;

namespace navit_edge::bindings {

PySession::PySession(std::unique_ptr<Session> opened)
    : session(std::move(opened)),
      result_queue(std::make_shared<ResultQueue>()),
      classes{py::tuple(py::cast(session->manifest().labels)), session->manifest().scores},
      caches(session->metrics().cache.most_bytes > 0) {}

PySession::~PySession() {
  {
    const ReleasedGil release;  // it waits for packs in flight
    session.reset();
    result_queue->close();
  }
  if (result_queue->here()) result_queue->let_go();
}

namespace {

py::dict report_dict(const RunReport& report) {
  py::list packs;
  for (const auto& pack : report.packs) {
    packs.append(py::dict(py::arg("images") = pack.images, py::arg("tokens") = pack.tokens,
                          py::arg("capacity") = pack.capacity, py::arg("budget_tokens") = pack.budget_tokens,
                          py::arg("start_us") = pack.start_us, py::arg("preprocess_us") = pack.preprocess_us,
                          py::arg("engine_us") = pack.engine_us, py::arg("unpack_us") = pack.unpack_us,
                          py::arg("predicted_us") = pack.predicted_us, py::arg("slot") = pack.slot,
                          py::arg("device") = pack.device, py::arg("engine") = pack.engine));
  }
  return py::dict(py::arg("packs") = packs, py::arg("most_in_flight") = report.most_in_flight,
                  py::arg("plan_us") = report.plan_us, py::arg("total_us") = report.total_us,
                  py::arg("predicted_us") = report.predicted_us, py::arg("cost_measured") = report.cost_measured);
}

/// A list that `run` is given: what is there already, and what is to be run.
struct Given {
  explicit Given(const py::list& images) : results(images.size()) {
    for (std::size_t i = 0; i < images.size(); ++i) {
      if (py::isinstance<PyResult>(images[i])) {
        images[i].cast<PyResult&>().index = static_cast<std::int64_t>(i);
        results[i] = images[i];
        continue;
      }
      // None keeps its place, so that indices in messages are the caller's; it fails as an empty image does.
      views.push_back(images[i].is_none() ? ImageView{} : image_view(images[i], "image " + std::to_string(i)));
      places.push_back(i);
    }
  }
  std::vector<ImageView> views;
  std::vector<std::size_t> places;  // [views] in the list
  py::list results;                 // [images]
};

/// How users of Python get what a backend needs.
const std::map<std::string, std::string> kInstall = {
    {"openvino", "pip install \"navit-edge[openvino]\""},
    {"tensorrt",
     "build navit-edge with TensorRT's headers (navit-edge docs tensorrt-backend), or choose an engine of another "
     "backend"},
    {"tensorrt-rtx",
     "build navit-edge with the headers of NVIDIA's TensorRT-RTX SDK (navit-edge docs tensorrt-backend), or choose an "
     "engine of another backend"},
};

}  // namespace

void bind_session(py::module_& module) {
  py::class_<PySession> session_class(module, "Session");
  session_class
      .def(py::init([](const std::filesystem::path& bundle, const std::string& device, std::vector<std::string> devices,
                       const std::string& engine, const std::string& precision, int threads, int slots,
                       std::int32_t max_tokens_per_image, const std::string& strategy, const std::string& overflow,
                       std::vector<std::filesystem::path> backend_dirs, std::vector<std::filesystem::path> vendor_dirs,
                       std::map<std::string, std::string> options, std::size_t queue_limit, std::uint64_t queue_bytes,
                       int decoders, std::uint64_t decode_bytes, const std::optional<std::string>& decode,
                       std::uint64_t cache_bytes, std::uint64_t max_memory_bytes, double aging_us, double batch_wait_us,
                       double stall_timeout_s, const std::optional<Policy>& policy) {
             SessionOptions session;
             session.device = parse_word_or_auto<DeviceKind>(device);
             session.devices = std::move(devices);
             session.engine = engine;
             session.precision = parse_word_or_auto<Precision>(precision);
             session.threads = threads;
             session.slots = slots;
             session.max_tokens_per_image = max_tokens_per_image;
             session.strategy = parse_word<Strategy>(strategy);
             session.overflow = parse_word<Overflow>(overflow);
             session.search.explicit_dirs = std::move(backend_dirs);
             session.search.vendor_dirs = std::move(vendor_dirs);
             session.search.install = kInstall;
             session.backend = std::move(options);
             session.queue_limit = queue_limit;
             session.queue_bytes = queue_bytes;
             session.decoders = decoders;
             session.decode_bytes = decode_bytes;
             if (decode) session.decode = parse_word<Decode>(*decode);
             session.cache_bytes = cache_bytes;
             session.max_memory_bytes = max_memory_bytes;
             session.aging_us = aging_us;
             session.batch_wait_us = batch_wait_us;
             session.stall_timeout_s = stall_timeout_s;
             if (policy.has_value()) session.policy = *policy;
             std::unique_ptr<Session> opened;
             {
               const ReleasedGil release;
               opened = std::make_unique<Session>(bundle, std::move(session));
             }
             return std::make_unique<PySession>(std::move(opened));
           }),
           py::arg("bundle"), py::kw_only(), py::arg("device"), py::arg("devices"), py::arg("engine"),
           py::arg("precision"), py::arg("threads"), py::arg("slots"), py::arg("max_tokens_per_image"),
           py::arg("strategy"), py::arg("overflow"), py::arg("backend_dirs"), py::arg("vendor_dirs"),
           py::arg("options"), py::arg("queue_limit"), py::arg("queue_bytes"), py::arg("decoders"),
           py::arg("decode_bytes"), py::arg("decode"), py::arg("cache_bytes"), py::arg("max_memory_bytes"),
           py::arg("aging_us"), py::arg("batch_wait_us"), py::arg("stall_timeout_s"), py::arg("policy"))
      .def(
          "run",
          [](PySession& self, const py::list& images, const py::object& progress, const std::optional<Policy>& policy,
             const py::list& contents, double spent_us) {
            Given given(images);
            std::vector<std::optional<Content>> known;
            for (std::size_t i = 0; contents.size() > 0 && i < given.places.size(); ++i) {
              known.push_back(content_of(contents[given.places[i]]));
            }
            const std::size_t there = images.size() - given.places.size();
            RunReport report;
            std::vector<Result> results;
            RunOptions run;
            run.policy = policy;
            run.contents = known;
            run.spent_us = spent_us;
            run.progress = [&](std::size_t done, std::size_t total) {
              const HeldGil acquire;
              if (PyErr_CheckSignals() != 0) throw py::error_already_set();
              if (!progress.is_none()) progress(there + done, there + total);
            };
            run.look_up = &look_at_signals;
            if (given.places.empty() && there > 0) {
              run.progress(0, 0);
            } else {
              ReleasedGil release;
              results = self.session->run(given.views, &report, run);
            }
            for (std::size_t i = 0; i < results.size(); ++i) {
              PyResult result = py_result(std::move(results[i]), self.classes);
              result.index = static_cast<std::int64_t>(given.places[i]);
              given.results[given.places[i]] = std::move(result);
            }
            return py::make_tuple(given.results, report_dict(report));
          },
          py::arg("images"), py::arg("progress"), py::arg("policy"), py::arg("contents"), py::arg("spent_us") = 0.0)
      .def_property_readonly("engine", [](const PySession& self) { return self.session->engine().id; })
      .def_property_readonly("precision",
                             [](const PySession& self) { return word_of(self.session->engine().precision); })
      .def_property_readonly("slots", [](const PySession& self) { return self.session->slots(); })
      .def_property_readonly("threads", [](const PySession& self) { return self.session->threads(); })
      .def_property_readonly("device", [](const PySession& self) { return text_of(self.session->device()); })
      .def("engine_report", [](const PySession& self) { return py::bytes(self.session->engine_report()); })
      .def_property_readonly("labels", [](const PySession& self) { return self.session->manifest().labels; })
      .def(
          "resized_size",
          [](const PySession& self, std::int32_t height_px, std::int32_t width_px,
             const std::optional<Policy>& policy) -> std::optional<std::pair<std::int32_t, std::int32_t>> {
            const std::optional<Size> size = self.session->resized_size({height_px, width_px}, policy);
            if (!size) return std::nullopt;
            return std::pair{size->height_px, size->width_px};
          },
          py::arg("height_px"), py::arg("width_px"), py::arg("policy"))
      .def_property_readonly("resizing",
                             [](const PySession& self) {
                               const PreprocessSpec& preprocess = self.session->manifest().preprocess;
                               return std::pair{word_of(preprocess.filter), word_of(preprocess.processor)};
                             })
      .def_property_readonly(
          "decoding",
          [](const PySession& self) {
            const PreprocessSpec& preprocess = self.session->manifest().preprocess;
            return py::dict(py::arg("orientation") = word_of(preprocess.orientation),
                            py::arg("icc") = word_of(preprocess.icc), py::arg("decode") = word_of(preprocess.decode),
                            py::arg("alpha") = word_of(preprocess.alpha),
                            py::arg("background") = py::tuple(py::cast(preprocess.background)));
          },
          "What the manifest says of decoding: the arguments of `Recorded` (python/navit_edge/decode/options.py).")
      .def_property_readonly("candidates", [](const PySession& self) {
        py::list out;
        for (const auto& one : self.session->candidates())
          out.append(py::make_tuple(one.engine, one.usable, text_of(one.detail)));
        return out;
      });
  bind_submit(module, session_class);
  module.def(
      "check_image", [](const py::object& image, const std::string& who) { image_view(image, who); }, py::arg("image"),
      py::arg("who"), "Raises InvalidInputError if `image` is not what run() takes.");
}

}  // namespace navit_edge::bindings

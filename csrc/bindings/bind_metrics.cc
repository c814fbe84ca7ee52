// The numbers of a session as dicts, Prometheus text, and traces. python/navit_edge/metrics/session.py documents the
// keys.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/metrics.h"
#include "navit_edge/session.h"
#include "py_session.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

/// None if there is no number: JSON has no NaN.
py::object number(double value) {
  if (std::isnan(value)) return py::none();
  return py::float_(value);
}

py::dict histogram_dict(const Histogram& histogram) {
  const bool any = histogram.count() > 0;
  const double none = std::nan("");
  return py::dict(py::arg("count") = histogram.count(), py::arg("sum") = histogram.sum,
                  py::arg("mean") = number(histogram.mean()), py::arg("min") = number(any ? histogram.min : none),
                  py::arg("max") = number(any ? histogram.max : none), py::arg("p50") = number(histogram.quantile(0.5)),
                  py::arg("p90") = number(histogram.quantile(0.9)), py::arg("p99") = number(histogram.quantile(0.99)));
}

py::dict metrics_dict(const Metrics& metrics) {
  py::dict failed;
  for (const ErrorCode code :
       {ErrorCode::kInvalidInput, ErrorCode::kOverBudget, ErrorCode::kBundle, ErrorCode::kBackend}) {
    failed[label_of(code)] = metrics.failed[static_cast<std::size_t>(code)];
  }
  py::dict images(py::arg("submitted") = metrics.submitted, py::arg("completed") = metrics.completed,
                  py::arg("failed") = metrics.failures(), py::arg("errors") = failed,
                  py::arg("cancelled") = metrics.cancelled, py::arg("dropped") = metrics.dropped,
                  py::arg("scaled_down") = metrics.scaled_down, py::arg("waiting") = metrics.waiting);
  py::dict packs(py::arg("completed") = metrics.packs, py::arg("failed") = metrics.packs_failed,
                 py::arg("in_flight") = metrics.in_flight, py::arg("slots") = metrics.slots);
  const CacheMetrics& cached = metrics.cache;
  const py::dict cache(py::arg("hits") = cached.hits, py::arg("misses") = cached.misses,
                       py::arg("coalesced") = cached.coalesced, py::arg("evictions") = cached.evictions,
                       py::arg("entries") = cached.entries, py::arg("bytes") = cached.bytes,
                       py::arg("most_bytes") = cached.most_bytes);
  py::dict all;
  all["uptime_s"] = metrics.uptime_s;
  all["broken"] = metrics.broken;
  all["images"] = images;
  all["packs"] = packs;
  all["tokens"] = py::dict(py::arg("used") = metrics.tokens_used, py::arg("padding") = metrics.tokens_padding);
  all["targets"] = py::dict(py::arg("met") = metrics.targets_met, py::arg("missed") = metrics.targets_missed);
  all["cascade"] = py::dict(py::arg("accepted") = metrics.cascade_accepted, py::arg("kept") = metrics.cascade_kept,
                            py::arg("again") = metrics.cascade_again);
  all["deadlines"] = py::dict(py::arg("met") = metrics.deadlines_met, py::arg("missed") = metrics.deadlines_missed);
  py::list devices;
  for (const DeviceMetrics& device : metrics.devices) {
    devices.append(py::dict(py::arg("name") = device.name, py::arg("device") = text_of(device.device),
                            py::arg("lost") = text_of(device.lost), py::arg("slots") = device.slots,
                            py::arg("in_flight") = device.in_flight, py::arg("packs") = device.packs,
                            py::arg("packs_failed") = device.packs_failed, py::arg("images") = device.images,
                            py::arg("tokens") = device.tokens, py::arg("busy_s") = device.busy_s));
  }
  all["devices"] = devices;
  all["cache"] = cache;
  all["memory"] = py::dict(py::arg("resident_bytes") = metrics.memory.resident_bytes,
                           py::arg("opened_bytes") = metrics.memory.opened_bytes,
                           py::arg("most_bytes") = metrics.memory.most_bytes);
  all["callback_errors"] = metrics.callback_errors;
  all["queue_s"] = histogram_dict(metrics.queue);
  all["latency_s"] = histogram_dict(metrics.latency);
  all["preprocess_s"] = histogram_dict(metrics.preprocess);
  all["engine_s"] = histogram_dict(metrics.engine);
  all["unpack_s"] = histogram_dict(metrics.unpack);
  all["pack_s"] = histogram_dict(metrics.pack);
  all["slack_s"] = histogram_dict(metrics.slack);
  all["overrun_s"] = histogram_dict(metrics.overrun);
  all["fill"] = histogram_dict(metrics.fill);
  all["pack_images"] = histogram_dict(metrics.pack_images);
  all["image_tokens"] = histogram_dict(metrics.image_tokens);
  return all;
}

const Buckets& buckets_named(const std::string& name) {
  if (name == "seconds") return Buckets::seconds();
  if (name == "ratio") return Buckets::ratio();
  if (name == "images") return Buckets::images();
  if (name == "tokens") return Buckets::tokens();
  throw InvalidInput("\"" + name + "\" names no buckets; expected seconds, ratio, images or tokens");
}

}  // namespace

void bind_metrics(py::module_& module) {
  py::class_<Histogram>(module, "Histogram")
      .def(py::init([](const std::string& buckets) { return Histogram(buckets_named(buckets)); }), py::arg("buckets"))
      .def(
          "observe",
          [](Histogram& self, const std::vector<double>& values) {
            for (const double value : values) self.observe(value);
          },
          py::arg("values"))
      .def(
          "quantile", [](const Histogram& self, double q) { return number(self.quantile(q)); }, py::arg("q"))
      .def("summary", &histogram_dict)
      .def_property_readonly("counts", [](const Histogram& self) { return self.counts; })
      .def_property_readonly("bounds", [](const Histogram& self) {
        std::vector<double> bounds;
        for (std::size_t i = 0; i < self.buckets->size(); ++i) bounds.push_back(self.buckets->bound(i));
        return bounds;
      });

  auto session = py::reinterpret_borrow<py::class_<PySession>>(module.attr("Session"));
  session.def("metrics", [](const PySession& self) { return metrics_dict(self.session->metrics()); })
      .def("metric_labels",
           [](const PySession& self) {
             py::dict labels;
             for (const auto& [name, value] : self.session->metric_labels()) labels[py::str(name)] = value;
             return labels;
           })
      .def("count_refused", [](const PySession& self) { self.session->count_refused(ErrorCode::kInvalidInput); })
      .def(
          "start_trace",
          [](const PySession& self, std::size_t max_events) { self.session->start_trace({.max_events = max_events}); },
          py::arg("max_events"))
      .def("stop_trace", [](const PySession& self) {
        std::string json;
        {
          const ReleasedGil release;
          json = self.session->stop_trace();
        }
        return py::bytes(json);
      });

  module.def(
      "prometheus",
      [](const std::vector<std::pair<const PySession*, Labels>>& sessions) {
        std::vector<Metrics> metrics;
        metrics.reserve(sessions.size());
        std::vector<LabelledMetrics> all;
        for (const auto& [one, labels] : sessions) {
          metrics.push_back(one->session->metrics());
          all.push_back({&metrics.back(), labels});
        }
        return to_prometheus(all);
      },
      py::arg("sessions"));
}

}  // namespace navit_edge::bindings

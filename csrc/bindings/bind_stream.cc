// Stream, as python/navit_edge/streaming.py uses it: a thread feeds, another takes results.
#include <pybind11/stl.h>

#include <array>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gil.h"
#include "navit_edge/stream.h"
#include "py_result.h"
#include "py_session.h"
#include "py_source.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

constexpr std::array<std::pair<const char*, DropPolicy>, 3> kDrops{{{"block", DropPolicy::kBlock},
                                                                    {"drop-oldest", DropPolicy::kDropOldest},
                                                                    {"drop-newest", DropPolicy::kDropNewest}}};

const char* name_of(Pushed pushed) {
  return pushed == Pushed::kTaken ? "taken" : pushed == Pushed::kDropped ? "dropped" : "ended";
}

/// Tags are indices in the source. The Python session is kept alive by the binding.
class PyStream {
 public:
  PyStream(PySession& session, StreamOptions options) : result_queue_(session.result_queue), classes_(session.classes) {
    options.on_drop = [this](std::uint64_t tag) {
      const std::lock_guard lock(mutex_);
      dropped_.push_back(tag);
    };
    stream_ = std::make_unique<Stream>(*session.session, std::move(options));
  }
  ~PyStream() {
    if (result_queue_->here()) {
      const ReleasedGil release;
      stream_.reset();
    } else {
      (void)stream_.release();  // in a forked child its lock may be held for ever
    }
  }
  PyStream(const PyStream&) = delete;
  PyStream& operator=(const PyStream&) = delete;

  const char* push(const py::object& image, std::uint64_t index) {
    OwnedImage owned = owned_image(image, "image " + std::to_string(index), result_queue_);
    Pushed pushed = Pushed::kEnded;
    {
      const ReleasedGil release;
      pushed = stream_->push(std::move(owned), index);
    }
    result_queue_->let_go();
    return name_of(pushed);
  }

  const char* push_file(const py::object& file, std::uint64_t index) {
    auto source = std::make_shared<PySource>(file, result_queue_);
    Pushed pushed = Pushed::kEnded;
    {
      const ReleasedGil release;
      pushed = stream_->push(std::move(source), index);
    }
    result_queue_->let_go();
    return name_of(pushed);
  }

  const char* push_failed(std::uint64_t index) {
    const ReleasedGil release;
    return name_of(stream_->push_failed(nullptr, index));
  }

  /// Up to `most` results, possibly none after `wait_ms`; None at the end.
  py::object pop(std::size_t most, double wait_ms) {
    std::vector<Result> results;
    bool more = false;
    {
      const ReleasedGil release;
      more = stream_->pop_some(most, std::chrono::microseconds(static_cast<std::int64_t>(wait_ms * 1000)), results);
    }
    result_queue_->let_go();
    if (!more) return py::none();
    py::list out(results.size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      PyResult result = py_result(std::move(results[i]), classes_);
      result.index = static_cast<std::int64_t>(result.result.tag);
      out[i] = std::move(result);
    }
    return out;
  }

  void finish() {
    const ReleasedGil release;
    stream_->finish();
  }
  void cancel() {
    if (!result_queue_->here()) return;
    const ReleasedGil release;
    stream_->cancel();
  }

  /// Indices of images that gave way since it was last asked.
  std::vector<std::uint64_t> take_dropped() {
    const std::lock_guard lock(mutex_);
    return std::exchange(dropped_, {});
  }

  [[nodiscard]] std::uint64_t dropped() const { return stream_->dropped(); }
  [[nodiscard]] std::size_t capacity() const { return stream_->capacity(); }

 private:
  std::shared_ptr<ResultQueue> result_queue_;
  PyClasses classes_;
  std::unique_ptr<Stream> stream_;
  std::mutex mutex_;
  std::vector<std::uint64_t> dropped_;
};

}  // namespace

void bind_stream(py::module_& module) {
  py::class_<PyStream>(module, "Stream")
      .def(py::init([](PySession& session, std::size_t capacity, std::size_t capacity_bytes, bool ordered,
                       const std::string& drop, double deadline_us, std::int32_t priority,
                       const std::optional<Policy>& policy,
                       const std::optional<std::tuple<std::int32_t, double, std::int64_t>>& still) {
             StreamOptions options;
             options.capacity = capacity;
             options.capacity_bytes = capacity_bytes;
             options.ordered = ordered;
             for (const auto& [name, value] : kDrops) {
               if (drop == name) options.drop = value;
             }
             options.submit.deadline_us = deadline_us;
             options.submit.priority = priority;
             options.submit.policy = policy;
             if (still) options.still = StillOptions{std::get<0>(*still), std::get<1>(*still), std::get<2>(*still)};
             return std::make_unique<PyStream>(session, std::move(options));
           }),
           py::keep_alive<1, 2>(), py::arg("session"), py::kw_only(), py::arg("capacity"), py::arg("capacity_bytes"),
           py::arg("ordered"), py::arg("drop"), py::arg("deadline_us"), py::arg("priority"), py::arg("policy"),
           py::arg("still") = py::none())
      .def("push", &PyStream::push, py::arg("image"), py::arg("index"))
      .def("push_file", &PyStream::push_file, py::arg("file"), py::arg("index"))
      .def("push_failed", &PyStream::push_failed, py::arg("index"))
      .def("pop", &PyStream::pop, py::arg("most"), py::arg("wait_ms"))
      .def("finish", &PyStream::finish)
      .def("cancel", &PyStream::cancel)
      .def("take_dropped", &PyStream::take_dropped)
      .def_property_readonly("dropped", &PyStream::dropped)
      .def_property_readonly("capacity", &PyStream::capacity);
}

}  // namespace navit_edge::bindings

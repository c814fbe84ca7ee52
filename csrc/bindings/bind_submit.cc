// Session: images one by one. Results travel through the queue.
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/error.h"
#include "py_session.h"
#include "py_source.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

/// A wait of `timeout_s`, none: for as long as it takes, that answers Ctrl-C. To be waited without the GIL.
WaitOptions interruptible(std::optional<double> timeout_s) {
  WaitOptions wait;
  if (timeout_s.has_value()) wait.timeout_us = *timeout_s * 1e6;
  wait.look_up = &look_at_signals;
  return wait;
}

/// Whether hashing its pixels takes longer than it takes to hand over the GIL.
bool hashes_much(const ImageView& image) {
  return std::int64_t{image.height_px} * image.width_px * image.channels > (1 << 17);
}

/// The result that is remembered of a content; None if there is none.
py::object recall(PySession& self, const py::object& content, const py::object& tag, double deadline_us,
                  const std::optional<Policy>& policy) {
  SubmitOptions options;
  options.content = content_of(content);
  options.policy = policy;
  options.deadline_us = deadline_us;
  std::string note;
  std::optional<Result> found = self.session->recall(options, note);
  if (!found) return py::none();
  PyResult result = py_result(std::move(*found), self.classes);
  result.tag = tag;
  result.decoding = std::move(note);
  return py::cast(std::move(result));
}

/// How the result of one image comes back.
struct Delivery {
  py::object future;
  py::object tag;
  py::object look_up;
  std::optional<double> timeout_s;
};

/// Submits `given`, an OwnedImage or a source. The id; none if there was no place in time. The GIL changes hands only
/// if this has to wait, or, if it is `slow`, at once. Callbacks take none, so they cannot wait for it.
template <class Given>
std::optional<std::uint64_t> submit_given(PySession& self, Given& given, const SubmitOptions& options,
                                          const Delivery& delivery, bool slow) {
  py::object place = py::cast(PyResult());
  auto& result = place.cast<PyResult&>();
  result.tag = delivery.tag;
  result.classes = self.classes;
  const py::tuple entry = py::make_tuple(delivery.future, std::move(place));
  auto pending = std::make_unique<PendingResult>(PendingResult{self.result_queue, entry.inc_ref().ptr(), &result});
  const Done done = [own = pending.get()](Result&& ended) {
    own->result = std::move(ended);
    const std::shared_ptr<ResultQueue> to = std::move(own->to);
    to->post(own);
  };
  std::optional<std::uint64_t> id;
  try {
    std::optional<ReleasedGil> release;
    if (slow) release.emplace();
    id = self.session->try_submit(given, options, done);
    release.reset();
    if (!id.has_value() && delivery.timeout_s != 0.0) {
      WaitOptions wait = interruptible(delivery.timeout_s);
      if (!delivery.look_up.is_none()) {
        wait.look_up = [&delivery] {
          const HeldGil acquire;
          delivery.look_up();
        };
      }
      release.emplace();
      id = self.session->try_submit(given, options, done, wait);
    }
  } catch (...) {  // nothing was taken
    entry.dec_ref();
    throw;
  }
  if (id.has_value()) {
    (void)pending.release();  // the queue's, which may have let go of it by now
  } else {
    entry.dec_ref();
  }
  return id;
}

std::optional<std::uint64_t> submit(PySession& self, const py::object& image, const py::object& future,
                                    const py::object& tag, double deadline_us, std::int32_t priority,
                                    const std::optional<Policy>& policy, std::optional<double> timeout_s,
                                    const py::object& look_up, double spent_us) {
  SubmitOptions options;
  options.deadline_us = deadline_us;
  options.priority = priority;
  options.spent_us = spent_us;
  options.policy = policy;
  OwnedImage owned = owned_image(image, "image", self.result_queue);
  const bool slow = self.caches && hashes_much(owned.view);
  return submit_given(self, owned, options, {future, tag, look_up, timeout_s}, slow);
}

std::optional<std::uint64_t> submit_file(PySession& self, const py::object& file, const py::object& future,
                                         const py::object& tag, double deadline_us, std::int32_t priority,
                                         const std::optional<Policy>& policy, std::optional<double> timeout_s,
                                         const py::object& look_up, double spent_us) {
  SubmitOptions options;
  options.deadline_us = deadline_us;
  options.priority = priority;
  options.spent_us = spent_us;
  options.policy = policy;
  std::shared_ptr<ImageSource> source = std::make_shared<PySource>(file, self.result_queue);
  return submit_given(self, source, options, {future, tag, look_up, timeout_s}, false);
}

}  // namespace

std::optional<Content> content_of(const py::object& content) {
  if (content.is_none()) return std::nullopt;
  const auto [digest, note] = content.cast<std::pair<py::bytes, std::string>>();
  return Content{digest_of(digest), note};
}

ContentDigest digest_of(const py::bytes& given) {
  const std::string_view bytes = given;
  ContentDigest digest{};
  if (bytes.size() != digest.size()) throw InvalidInput("the digest of a content has not 32 bytes");
  std::copy(bytes.begin(), bytes.end(), digest.begin());
  return digest;
}

void bind_submit(py::module_& module, py::class_<PySession>& session) {
  py::class_<ResultQueue, std::shared_ptr<ResultQueue>>(module, "ResultQueue",
                                                        "Results of a session on their way to Python.")
      .def("take", &ResultQueue::take)
      .def("take_now", &ResultQueue::take_now)
      .def("flush", &ResultQueue::flush, py::arg("timeout_s"))
      .def("close", &ResultQueue::close)
      .def_property_readonly("here", &ResultQueue::here);
  session
      .def("submit", &submit, py::arg("image"), py::arg("future"), py::arg("tag"), py::arg("deadline_us"),
           py::arg("priority"), py::arg("policy"), py::arg("timeout_s"), py::arg("look_up"), py::arg("spent_us"))
      .def("submit_file", &submit_file, py::arg("file"), py::arg("future"), py::arg("tag"), py::arg("deadline_us"),
           py::arg("priority"), py::arg("policy"), py::arg("timeout_s"), py::arg("look_up"), py::arg("spent_us"))
      .def("recall", &recall, py::arg("content"), py::arg("tag"), py::arg("deadline_us"), py::arg("policy"))
      .def_readonly("caches", &PySession::caches, "Whether it remembers results.")
      .def(
          "cancel", [](PySession& self, std::uint64_t id) { return self.session->cancel(id); }, py::arg("id"))
      .def(
          "drain",
          [](PySession& self, std::optional<double> timeout_s) {
            return self.session->drain(interruptible(timeout_s));
          },
          py::arg("timeout_s"), py::call_guard<ReleasedGil>())
      .def(
          "close",
          [](PySession& self) {
            self.session->close();
            self.result_queue->close();
          },
          py::call_guard<ReleasedGil>())
      .def_property_readonly("broken", [](const PySession& self) { return text_of(self.session->broken()); })
      .def_readonly("result_queue", &PySession::result_queue);
}

}  // namespace navit_edge::bindings

// Session: images one by one. Results travel through the mailbox.
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "py_session.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

std::uint64_t submit(PySession& self, const py::object& image, const py::object& future, const py::object& tag,
                     double deadline_us, std::int32_t priority, const std::optional<Policy>& policy) {
  OwnedImage owned = owned_image(image, "image", self.mailbox);
  SubmitOptions options;
  options.deadline_us = deadline_us;
  options.priority = priority;
  options.policy = policy;
  py::object place = py::cast(PyResult());
  auto& result = place.cast<PyResult&>();
  result.tag = tag;
  const py::tuple entry = py::make_tuple(future, std::move(place));
  auto letter = std::make_unique<Letter>(Letter{self.mailbox, entry.inc_ref().ptr(), &result});
  const Done done = [own = letter.get()](Result&& ended) {
    own->result = std::move(ended);
    const std::shared_ptr<Mailbox> to = std::move(own->to);
    to->post(own);
  };
  std::uint64_t id = 0;
  try {
    // The GIL changes hands only where this has to wait. Callbacks take none, so they cannot wait for it.
    if (const auto taken = self.session->try_submit(owned, options, done)) {
      id = *taken;
    } else {
      const py::gil_scoped_release release;
      id = self.session->submit(std::move(owned), options, done);
    }
  } catch (...) {  // nothing was taken
    entry.dec_ref();
    throw;
  }
  (void)letter.release();  // the mailbox's, which may have let go of it by now
  return id;
}

}  // namespace

void bind_submit(py::module_& module, py::class_<PySession>& session) {
  py::class_<Mailbox, std::shared_ptr<Mailbox>>(module, "Mailbox", "Results of a session on their way to Python.")
      .def("take", &Mailbox::take)
      .def("take_now", &Mailbox::take_now)
      .def("flush", &Mailbox::flush)
      .def_property_readonly("here", &Mailbox::here);
  session
      .def("submit", &submit, py::arg("image"), py::arg("future"), py::arg("tag"), py::arg("deadline_us"),
           py::arg("priority"), py::arg("policy"))
      .def(
          "cancel", [](PySession& self, std::uint64_t id) { return self.session->cancel(id); }, py::arg("id"))
      .def(
          "drain", [](PySession& self) { self.session->drain(); }, py::call_guard<py::gil_scoped_release>())
      .def(
          "close",
          [](PySession& self) {
            self.session->close();
            self.mailbox->close();
          },
          py::call_guard<py::gil_scoped_release>())
      .def_property_readonly("broken", [](const PySession& self) { return self.session->broken(); })
      .def_readonly("mailbox", &PySession::mailbox);
}

}  // namespace navit_edge::bindings

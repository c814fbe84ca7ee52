#include "py_source.h"

#include <pybind11/stl.h>

#include <utility>

#include "gil.h"
#include "navit_edge/error.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

/// What a step of `deferred` gives, with the GIL. None: it has kept its error, which Python shows; ours says the same.
template <class Body>
auto step(py::handle deferred, const char* name, ResultQueue& result_queue, Body&& body) {
  const HeldGil acquire;
  try {
    result_queue.let_go();  // before more memory is taken
    const py::object found = deferred.attr(name)();
    if (found.is_none()) throw InvalidInput(py::str(deferred.attr("error")).cast<std::string>());
    return body(found);
  } catch (const py::error_already_set& error) {
    throw InvalidInput(std::string("an image file cannot be decoded: ") + error.what());
  }
}

}  // namespace

PySource::PySource(py::handle deferred, std::shared_ptr<ResultQueue> result_queue)
    : deferred_(std::make_unique<Borrowed>(Borrowed{deferred.inc_ref().ptr()})),
      result_queue_(std::move(result_queue)),
      held_bytes_(deferred.attr("held_bytes").cast<std::uint64_t>()) {}

PySource::~PySource() { result_queue_->release(deferred_.release()); }

std::optional<ContentDigest> PySource::digest() {
  return step(deferred_->object, "digest", *result_queue_, [](const py::object& found) -> std::optional<ContentDigest> {
    return found.cast<std::string>().empty() ? std::nullopt : std::optional(digest_of(found.cast<py::bytes>()));
  });
}

void PySource::recalled(const std::string& note) {
  const HeldGil acquire;
  try {
    py::handle(deferred_->object).attr("done") = text_of(note);
  } catch (const py::error_already_set& error) {
    throw InvalidInput(error.what());
  }
}

std::uint64_t PySource::open(const DecodeTarget&) {
  return step(deferred_->object, "open", *result_queue_,
              [](const py::object& found) { return found.cast<std::uint64_t>(); });
}

OwnedImage PySource::decode() {
  return step(deferred_->object, "decode", *result_queue_,
              [this](const py::object& found) { return owned_image(found, "image", result_queue_); });
}

std::string PySource::note() {
  return step(deferred_->object, "note", *result_queue_,
              [](const py::object& found) { return found.cast<std::string>(); });
}

}  // namespace navit_edge::bindings

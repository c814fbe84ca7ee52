// C++ errors become the classes of python/navit_edge/errors.py.
#include <exception>
#include <filesystem>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/error.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

py::object python_class(ErrorCode code) {
  const py::module_ errors = py::module_::import("navit_edge.errors");
  switch (code) {
    case ErrorCode::kInvalidInput:
      return errors.attr("InvalidInputError");
    case ErrorCode::kOverBudget:
      return errors.attr("OverBudgetError");
    case ErrorCode::kBundle:
      return errors.attr("BundleError");
    case ErrorCode::kBackend:
      return errors.attr("BackendError");
    case ErrorCode::kCancelled:
      return errors.attr("CancelledError");
    case ErrorCode::kOk:
      break;
  }
  return errors.attr("NavitEdgeError");
}

}  // namespace

py::str text_of(std::string_view bytes) {
  PyObject* text = PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "backslashreplace");
  if (text == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(text);
}

py::object python_error(const std::exception_ptr& error) {
  if (!error) return py::none();
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return python_class(e.code())(text_of(e.what()));
  } catch (const std::bad_alloc&) {
    return python_class(ErrorCode::kBackend)("memory ran out while this image was run; submit it again, or run fewer");
  } catch (const std::exception& e) {
    return py::module_::import("navit_edge.errors").attr("NavitEdgeError")(text_of(e.what()));
  }
}

void look_at_signals() {
  const HeldGil acquire;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

void bind_errors(py::module_& /*module*/) {
  py::register_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const Error& e) {
      const py::object type = python_class(e.code());
      PyErr_SetObject(type.ptr(), text_of(e.what()).ptr());
    } catch (const std::filesystem::filesystem_error& e) {
      PyErr_SetObject(PyExc_OSError, text_of(e.what()).ptr());
    }
  });
}

}  // namespace navit_edge::bindings

#include "bind_drop.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gil.h"
#include "navit_edge/error.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

using Bools = py::array_t<bool, py::array::c_style | py::array::forcecast>;

/// A bool array [rows, cols] into a mask. `who` opens the message.
PatchMask mask_of(const py::object& given, const std::string& who) {
  const auto array = py::module_::import("numpy").attr("asarray")(given).cast<py::array>();
  if (array.dtype().kind() != 'b' || array.ndim() != 2) {
    throw InvalidInput(who + " is an array of " + py::str(array.dtype()).cast<std::string>() + " with " +
                       std::to_string(array.ndim()) +
                       " dimensions; expected bool [rows, cols], True for a patch that stays");
  }
  const Bools mask(array);
  PatchMask out;
  out.grid = {static_cast<std::int32_t>(mask.shape(0)), static_cast<std::int32_t>(mask.shape(1))};
  out.keep.assign(reinterpret_cast<const std::uint8_t*>(mask.data()),
                  reinterpret_cast<const std::uint8_t*>(mask.data()) + mask.size());
  return out;
}

/// The pixels as they lie, in an array of its own: [height_px, width_px, channels], or [height_px, width_px] of one
/// channel, and of NV12 and I420 the Y plane.
py::array pixels_of(const ImageView& image) {
  std::vector<py::ssize_t> shape{image.height_px, image.width_px};
  if (image.channels != 1) shape.push_back(image.channels);
  py::array out(py::dtype::of<std::uint8_t>(), shape);
  const auto row_bytes = static_cast<std::size_t>(image.width_px) * static_cast<std::size_t>(image.channels);
  for (std::int32_t y = 0; y < image.height_px; ++y) {
    std::memcpy(static_cast<std::uint8_t*>(out.mutable_data()) + static_cast<std::size_t>(y) * row_bytes,
                image.data + y * image.stride(), row_bytes);
  }
  return out;
}

/// A function of Python's. Whoever lets go of it last may be a thread without the GIL, or one that outlives Python.
std::shared_ptr<py::object> held(py::object function) {
  return {new py::object(std::move(function)), [](py::object* own) {
            if (Py_IsInitialized() == 0) return;  // what is left of it goes with the process
            const HeldGil held_gil;
            delete own;
          }};
}

PatchChooser chooser_of(const py::object& function) {
  return [function = held(function)](const ImageView& image, Grid grid, std::span<std::uint8_t> keep) {
    const HeldGil held_gil;
    PatchMask mask;
    try {
      mask = mask_of((*function)(pixels_of(image), py::make_tuple(grid.rows, grid.cols)),
                     "what the function that chooses patches gave");
    } catch (py::error_already_set& error) {
      if (!error.matches(PyExc_Exception)) throw;  // Ctrl-C
      throw InvalidInput(std::string("the function that chooses patches raised ") + error.what());
    }
    if (mask.grid != grid) {
      throw InvalidInput("the function that chooses patches gave " + std::to_string(mask.grid.rows) + " x " +
                         std::to_string(mask.grid.cols) + " values for a grid of " + std::to_string(grid.rows) + " x " +
                         std::to_string(grid.cols) + "; expected one for each patch");
    }
    std::copy(mask.keep.begin(), mask.keep.end(), keep.begin());
  };
}

void refuse_option(bool given, const char* name, const std::string& what) {
  if (given) throw InvalidInput(std::string(name) + " is no option of a drop by " + what + "; leave it out");
}

}  // namespace

Policy with_drop(const Policy& policy, const py::object& what, std::optional<double> keep,
                 std::optional<std::uint64_t> seed, std::optional<std::int32_t> range) {
  DropOptions options;
  if (!py::isinstance<py::str>(what)) {
    const bool function = PyCallable_Check(what.ptr()) != 0;
    const std::string name = function ? "a function" : "a mask";
    refuse_option(keep.has_value(), "keep", name);
    refuse_option(seed.has_value(), "seed", name);
    refuse_option(range.has_value(), "range", name);
    if (function) return policy.with_drop(chooser_of(what));
    return policy.with_drop(mask_of(what, "the mask of patches to keep"));
  }
  const auto name = what.cast<std::string>();
  if (name == "random") {
    options.kind = DropKind::kRandom;
    refuse_option(range.has_value(), "range", name);
    if (!keep.has_value()) throw InvalidInput("a drop by random needs keep, the share of the patches that stays");
  } else if (name == "blank") {
    options.kind = DropKind::kBlank;
    refuse_option(keep.has_value(), "keep", name);
    refuse_option(seed.has_value(), "seed", name);
  } else {
    throw InvalidInput("drop \"" + name +
                       "\" is unknown; expected \"blank\", \"random\", a bool array [rows, cols] or a function");
  }
  options.keep = keep.value_or(options.keep);
  options.seed = seed.value_or(options.seed);
  options.range = range.value_or(options.range);
  return policy.with_drop(options);
}

}  // namespace navit_edge::bindings

// The table of option ranges, by Python's names: milliseconds where C++ has microseconds.
#include <pybind11/stl.h>

#include <string>

#include "bindings.h"
#include "navit_edge/manifest.h"
#include "navit_edge/option_range.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

/// "batch_wait_us" is "batch_wait_ms" in Python, in milliseconds; "max_memory_bytes" is "max_memory", which takes
/// texts.
std::string python_name(const OptionRange& range) {
  std::string name(range.name);
  if (name.ends_with("_us")) name.replace(name.size() - 3, 3, "_ms");
  if (name == "max_memory_bytes") name = "max_memory";
  return name;
}

py::dict ranges() {
  py::dict out;
  for (OptionRange range : option_ranges()) {
    std::string what(range.what);
    if (const std::string_view unit = "microseconds"; what.starts_with(unit)) {
      what.replace(0, unit.size(), "milliseconds");
      range.least = range.least > 1e-300 ? range.least / 1000 : range.least;  // the smallest number stays it
      range.most /= 1000;
    }
    range.what = what;
    out[py::cast(python_name(range))] =
        py::make_tuple(range.least, range.most, range.whole, !range.zero.empty(), expected(range));
  }
  return out;
}

template <class... Enums>
py::dict words() {
  py::dict out;
  ((out[py::cast(kWords<Enums>.what)] = py::tuple(py::cast(kWords<Enums>.words))), ...);
  return out;
}

}  // namespace

void bind_options(py::module_& module) {
  module.def("vocabularies",
             &words<SizingRule, Fit, Enlarge, Filter, Processor, Alpha, Orientation, Icc, DType, Lowering, Quantization,
                    Precision, DeviceKind, Overflow, Strategy, AttentionCost, PixelFormat, YuvMatrix, YuvRange,
                    GraphInput, GraphOutput, Scores>,
             "The words of manifests and options, by what they are words for: navit_edge/vocabulary.py has the same.");
  module.def("option_ranges", &ranges,
             "(least, most, whole, whether 0 is allowed beside them, the same in words) of each option, by its name.");
}

}  // namespace navit_edge::bindings

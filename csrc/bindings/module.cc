// navit_edge._core: the C++ runtime, as Python sees it. One file a noun; stubs in python/navit_edge/_core.pyi.
#include "bindings.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The navit_edge runtime (C++).";
  module.attr("__version__") = NAVIT_EDGE_VERSION;
  navit_edge::bindings::bind_errors(module);
  navit_edge::bindings::bind_pixels(module);
  navit_edge::bindings::bind_plan(module);
  navit_edge::bindings::bind_resize(module);
  navit_edge::bindings::bind_session(module);
}

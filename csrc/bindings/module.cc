// navit_edge._core: the C++ runtime, as Python sees it. One file a noun; stubs in python/navit_edge/_core.pyi.
#include "bindings.h"
#include "navit_edge/backend_abi.h"
#include "navit_edge/version.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The navit_edge runtime (C++).";
  module.attr("__version__") = navit_edge::version();
  module.attr("backend_abi_version") = NAVIT_EDGE_BACKEND_ABI_VERSION;
  navit_edge::bindings::bind_errors(module);
  navit_edge::bindings::bind_manifest(module);
  navit_edge::bindings::bind_memory(module);
  navit_edge::bindings::bind_options(module);
  navit_edge::bindings::bind_packer(module);
  navit_edge::bindings::bind_pixels(module);
  navit_edge::bindings::bind_plan(module);
  navit_edge::bindings::bind_policy(module);  // before those that take one
  navit_edge::bindings::bind_decode(module);  // after bind_pixels: gives them
  navit_edge::bindings::bind_resize(module);
  navit_edge::bindings::bind_result(module);
  navit_edge::bindings::bind_session(module);
  navit_edge::bindings::bind_metrics(module);
  navit_edge::bindings::bind_sizing(module);
  navit_edge::bindings::bind_stream(module);
  navit_edge::bindings::bind_text(module);
}

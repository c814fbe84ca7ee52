// OpenVINO's CPU plug-in keeps primitives of oneDNN in a cache of the whole process, beside those of each engine.
#pragma once

#include <openvino/runtime/core.hpp>

namespace navit_edge::openvino {

/// Turns that cache off, unless ONEDNN_PRIMITIVE_CACHE_CAPACITY or DNNL_PRIMITIVE_CACHE_CAPACITY says otherwise: it
/// holds 1024 primitives of any size, 100 MiB and more of a small model, which no engine uses again once its own cache
/// has dropped them, and which stay when the last engine is closed. To be called before `core` compiles or imports
/// anything for the CPU.
void turn_off_primitive_cache(ov::Core& core);

}  // namespace navit_edge::openvino

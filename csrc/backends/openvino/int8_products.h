// Whether int8 may be computed in int8 here.
#pragma once

#include <openvino/runtime/compiled_model.hpp>

namespace navit_edge::openvino {

/// Whether the processor multiplies in int8 and adds in 32 bits: VNNI on x86, all others. Without, OpenVINO's kernels
/// add pairs of products in 16 bits, which overflow: other numbers, and no error.
bool has_int8_products() noexcept;

/// Whether any matrix product of the model with constant weights is computed in int8.
bool computes_in_int8(const ov::CompiledModel& model);

}  // namespace navit_edge::openvino

#include "primitive_cache.h"

#include <cstdlib>
#include <memory>
#include <openvino/op/matmul.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/op/softmax.hpp>
#include <openvino/runtime/properties.hpp>

namespace navit_edge::openvino {
namespace {

constexpr const char* kCapacity = "ONEDNN_PRIMITIVE_CACHE_CAPACITY";

/// The variable while it lives, and no longer: oneDNN of other libraries, and of child processes, reads it as well.
class ForNow {
 public:
  ForNow() { ::setenv(kCapacity, "0", 1); }
  ~ForNow() { ::unsetenv(kCapacity); }
  ForNow(const ForNow&) = delete;
  ForNow& operator=(const ForNow&) = delete;
};

/// The smallest model that takes a primitive on every CPU: oneDNN reads the variable when the first is made, once and
/// for all. A product with constant weights is none where the CPU has no AVX-512: OpenVINO takes MLAS for it there.
void make_a_primitive(ov::Core& core) {
  const ov::PartialShape square{16, 16};
  const auto left = std::make_shared<ov::op::v0::Parameter>(ov::element::f32, square);
  const auto right = std::make_shared<ov::op::v0::Parameter>(ov::element::f32, square);
  const auto product = std::make_shared<ov::op::v0::MatMul>(left, right);
  const auto shares = std::make_shared<ov::op::v8::Softmax>(left, 1);
  const auto model = std::make_shared<ov::Model>(ov::OutputVector{product, shares}, ov::ParameterVector{left, right});
  core.compile_model(model, "CPU", ov::num_streams(1), ov::inference_num_threads(1)).create_infer_request().infer();
}

}  // namespace

void turn_off_primitive_cache(ov::Core& core) {
  if (std::getenv(kCapacity) != nullptr || std::getenv("DNNL_PRIMITIVE_CACHE_CAPACITY") != nullptr) return;
  const ForNow variable;
  make_a_primitive(core);
}

}  // namespace navit_edge::openvino

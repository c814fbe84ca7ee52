#include "primitive_cache.h"

#include <cstdlib>
#include <memory>
#include <openvino/op/constant.hpp>
#include <openvino/op/matmul.hpp>
#include <openvino/op/parameter.hpp>
#include <openvino/runtime/properties.hpp>
#include <vector>

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

/// The smallest model that takes a primitive: oneDNN reads the variable when the first is made, once and for all.
void make_a_primitive(ov::Core& core) {
  constexpr std::size_t kSide = 16;
  const auto input = std::make_shared<ov::op::v0::Parameter>(ov::element::f32, ov::PartialShape{kSide, kSide});
  const auto weights =
      ov::op::v0::Constant::create(ov::element::f32, {kSide, kSide}, std::vector<float>(kSide * kSide, 1.0F));
  const auto product = std::make_shared<ov::op::v0::MatMul>(input, weights);
  const auto model = std::make_shared<ov::Model>(ov::OutputVector{product}, ov::ParameterVector{input});
  core.compile_model(model, "CPU", ov::num_streams(1), ov::inference_num_threads(1)).create_infer_request().infer();
}

}  // namespace

void turn_off_primitive_cache(ov::Core& core) {
  if (std::getenv(kCapacity) != nullptr || std::getenv("DNNL_PRIMITIVE_CACHE_CAPACITY") != nullptr) return;
  const ForNow variable;
  make_a_primitive(core);
}

}  // namespace navit_edge::openvino

#include "engine.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <openvino/core/model.hpp>
#include <openvino/core/version.hpp>
#include <openvino/runtime/properties.hpp>
#include <utility>

#include "freed_memory.h"
#include "int8_products.h"
#include "navit_edge/types.h"
#include "primitive_cache.h"

namespace navit_edge::openvino {
namespace {

constexpr const char* kCacheCapacity = "CPU_RUNTIME_CACHE_CAPACITY";  // in no public header of OpenVINO

ov::element::Type element_type(std::int32_t dtype) {
  switch (static_cast<DType>(dtype)) {
    case DType::kFloat32:
      return ov::element::f32;
    case DType::kFloat16:
      return ov::element::f16;
    case DType::kBFloat16:
      return ov::element::bf16;
    case DType::kUInt8:
      return ov::element::u8;
    case DType::kInt32:
      return ov::element::i32;
  }
  throw BackendError("element type " + std::to_string(dtype) + " is not one that this backend knows");
}

ov::Tensor borrow(const navit_edge_tensor& tensor) {
  ov::Shape shape(tensor.rank);
  for (std::int32_t axis = 0; axis < tensor.rank; ++axis) shape[axis] = static_cast<std::size_t>(tensor.shape[axis]);
  return {element_type(tensor.dtype), shape, tensor.data};
}

ov::AnyMap config_of(const navit_edge_engine_desc& desc, const Options& options) {
  ov::AnyMap config;
  config[ov::hint::inference_precision.name()] = std::string(desc.precision) == "bf16"   ? ov::element::bf16
                                                 : std::string(desc.precision) == "fp16" ? ov::element::f16
                                                                                         : ov::element::f32;
  if (options.device == "CPU") {
    config[kCacheCapacity] = std::to_string(options.capacity_of_a_stream(desc.slots));
    config[ov::num_streams.name()] = ov::streams::Num(desc.slots);
    if (desc.threads > 0) config[ov::inference_num_threads.name()] = desc.threads;
    // Other threads of the process pack at the same time. One thread needs no binding: it is the caller's, and bound.
    const bool bound = options.own_cores && desc.threads > 1;
    config[ov::hint::enable_cpu_pinning.name()] = bound;
    if (bound) config[ov::hint::enable_cpu_reservation.name()] = true;  // cores that no other engine has reserved
  }
  return config;
}

}  // namespace

ov::Core& core() {
  static ov::Core instance;
  return instance;
}

void require_precision(const std::string& device, const std::string& precision) {
  const std::string wanted = precision == "bf16" ? "BF16" : precision == "fp16" ? "FP16" : "FP32";
  const auto offered = core().get_property(device, ov::device::capabilities);
  if (std::find(offered.begin(), offered.end(), wanted) != offered.end()) return;
  std::string list;
  for (const auto& one : offered) list += (list.empty() ? "" : ", ") + one;
  throw BackendError("the engine computes in " + precision + ", which this " + device + " does not offer (it offers " +
                     list + "); build one for it: navit-edge build-engine BUNDLE --backend openvino --precision fp32");
}

Engine::Engine(const navit_edge_engine_desc& desc) : options_(parse_options(desc)) {
  require_precision(options_.device, desc.precision);
  if (options_.device == "CPU") {
    static std::once_flag once;
    std::call_once(once, [] { turn_off_primitive_cache(core()); });
  }
  // The model reads its weights where they lie, so the tensor keeps them. It wants them mutable, and never writes.
  const auto content = std::make_shared<sdk::TakenBytes>(*desc.content);
  const ov::Tensor blob(ov::Tensor(ov::element::u8, {content->size()}, const_cast<void*>(content->data())), content);
  model_ = core().import_model(blob, options_.device, config_of(desc, options_));
  if (options_.device == "CPU" && !has_int8_products() && computes_in_int8(model_)) {
    throw BackendError(
        "the engine was compiled on a processor with int8 products (VNNI), and this one has none: sums would overflow "
        "and give other numbers; build it here: navit-edge build-engine BUNDLE --backend openvino --precision fp32, "
        "which is the fastest on this processor, or --precision int8");
  }
  slots_.reserve(static_cast<std::size_t>(desc.slots));
  for (std::int32_t slot = 0; slot < desc.slots; ++slot) slots_.push_back({model_.create_infer_request(), {}, false});
}

const ov::Tensor& Engine::bind(Slot& slot, const navit_edge_tensor& tensor) {
  auto found =
      std::find_if(slot.bound.begin(), slot.bound.end(), [&](const Bound& one) { return one.name == tensor.name; });
  if (found == slot.bound.end()) found = slot.bound.insert(slot.bound.end(), Bound{tensor.name, {}, {}});
  const std::span<const std::int64_t> shape(tensor.shape, static_cast<std::size_t>(tensor.rank));
  if (found->tensor && found->tensor.data() == tensor.data &&
      std::equal(shape.begin(), shape.end(), found->shape.begin(), found->shape.end()) &&
      found->tensor.get_element_type() == element_type(tensor.dtype)) {
    return found->tensor;
  }
  const ov::Tensor fresh = borrow(tensor);
  slot.request.set_tensor(found->name, fresh);
  found->tensor = fresh;
  slot.new_shape |= !std::equal(shape.begin(), shape.end(), found->shape.begin(), found->shape.end());
  found->shape.assign(shape.begin(), shape.end());
  return found->tensor;
}

void Engine::run(std::int32_t slot, std::span<const navit_edge_tensor> inputs,
                 std::span<const navit_edge_tensor> outputs) {
  Slot& on = slots_.at(static_cast<std::size_t>(slot));
  try {
    for (const auto& tensor : inputs) bind(on, tensor);
    for (const auto& tensor : outputs) bind(on, tensor);
    on.request.infer();
  } catch (...) {
    on.bound.clear();  // what the request holds now is anybody's guess
    throw;
  }
  for (const auto& tensor : outputs) {
    const ov::Tensor made = on.request.get_tensor(tensor.name);
    const ov::Tensor& ours = bind(on, tensor);
    if (made.get_shape() != ours.get_shape()) {
      throw BackendError(std::string("output ") + tensor.name +
                         " has another shape than the manifest says; rebuild the engine");
    }
    if (made.data() != ours.data()) made.copy_to(ours);
  }
  if (std::exchange(on.new_shape, false)) give_back_after_new_shapes();
}

std::string Engine::report() const {
  sdk::JsonObject report;
  report.text("library", "OpenVINO");
  report.text("library_version", ov::get_openvino_version().buildNumber);
  report.text("device", options_.device + " (" + core().get_property(options_.device, ov::device::full_name) + ")");
  report.number("slots", static_cast<std::int64_t>(slots_.size()));
  report.text("host_memory", "the caller's");
  // What was asked for, and what the model's operations run in: those that have no kernel of it run in another.
  report.text("precision", model_.get_property(ov::hint::inference_precision).to_string());
  std::map<std::string, std::int64_t> operations;
  for (const auto& operation : model_.get_runtime_model()->get_ordered_ops()) {
    const auto& info = operation->get_rt_info();
    const auto found = info.find("runtimePrecision");
    if (found != info.end()) ++operations[found->second.as<std::string>()];
  }
  sdk::JsonObject precisions;
  for (const auto& [precision, count] : operations) precisions.number(precision, count);
  report.json("operations_by_precision", precisions.done());
  if (options_.device == "CPU") {
    report.number("streams", model_.get_property(ov::num_streams).num);
    report.number("cache_capacity", options_.cache_capacity);
    report.number("threads", model_.get_property(ov::inference_num_threads));
  }
  return report.done();
}

}  // namespace navit_edge::openvino

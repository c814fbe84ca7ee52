#include "plan_file.h"

#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>

namespace simulator {
namespace {

nvinfer1::DataType type_of(const ov::element::Type& type) {
  if (type == ov::element::u8) return nvinfer1::DataType::kUINT8;
  if (type == ov::element::i32) return nvinfer1::DataType::kINT32;
  if (type == ov::element::f32) return nvinfer1::DataType::kFLOAT;
  throw std::runtime_error("an element type that the stand-in does not know");
}

/// Compiled once a process, so that tests may open hundreds of engines.
ov::CompiledModel compiled(const std::string& onnx) {
  // Leaked: engines may be closed after static destructors.
  static auto* mutex = new std::mutex;
  static auto* core = new ov::Core;
  static auto* models = new std::map<std::string, ov::CompiledModel>;
  const std::lock_guard lock(*mutex);
  const auto found = models->find(onnx);
  if (found != models->end()) return found->second;
  const ov::AnyMap config = {ov::hint::inference_precision(ov::element::f32), ov::num_streams(2),
                             ov::inference_num_threads(2)};
  return models->emplace(onnx, core->compile_model(onnx, "CPU", config)).first->second;
}

}  // namespace

PlanFile::PlanFile(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  std::string onnx;
  if (!std::getline(lines, line) || line != "navit-edge simulated plan") throw std::runtime_error("magic tag mismatch");
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string key;
    words >> key;
    if (key == "onnx") {
      std::getline(words >> std::ws, onnx);
    } else if (key == "memory_per_token") {
      words >> memory_per_token;
    } else if (key == "profile") {
      SimulatedProfile profile;
      words >> profile.least_tokens >> profile.tokens >> profile.least_images >> profile.images;
      if (!words) throw std::runtime_error("a profile that is not four numbers");
      profiles.push_back(profile);
    }
  }
  model = compiled(onnx);
  for (const bool input : {true, false}) {
    for (const auto& port : input ? model.inputs() : model.outputs()) {
      SimulatedTensor tensor;
      tensor.name = port.get_any_name();
      tensor.type = type_of(port.get_element_type());
      tensor.input = input;
      const bool per_image = tensor.name == "grid_hw" || tensor.name == "logits" || tensor.name == "embedding";
      tensor.letter = per_image ? 'N' : 'T';
      const ov::PartialShape shape = port.get_partial_shape();
      tensor.shape.nbDims = static_cast<std::int32_t>(shape.size());
      for (std::size_t i = 0; i < shape.size(); ++i)
        tensor.shape.d[i] = shape[i].is_static() ? shape[i].get_length() : -1;
      tensor.shape.d[0] = -1;
      tensors.push_back(tensor);
    }
  }
}

const SimulatedTensor* PlanFile::find(const char* name) const {
  for (const SimulatedTensor& tensor : tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

std::int64_t PlanFile::memory(std::int32_t profile) const {
  return memory_per_token * profiles.at(static_cast<std::size_t>(profile)).tokens;
}

}  // namespace simulator

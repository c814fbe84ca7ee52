#include "plan.h"

#include <algorithm>
#include <cctype>
#include <cstring>

#include "cuda.h"
#include "navit_edge/error.h"

namespace navit_edge::tensorrt {
namespace {

constexpr const char* kRebuild =
    "rebuild it here: navit-edge build-engine BUNDLE --backend " NAVIT_EDGE_TENSORRT_BACKEND;

DType dtype_of(const std::string& name, nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
      return DType::kFloat32;
    case nvinfer1::DataType::kHALF:
      return DType::kFloat16;
    case nvinfer1::DataType::kBF16:
      return DType::kBFloat16;
    case nvinfer1::DataType::kUINT8:
      return DType::kUInt8;
    case nvinfer1::DataType::kINT32:
      return DType::kInt32;
    default:
      throw BackendError("tensor " + name + " of the engine has TensorRT's element type " +
                         std::to_string(static_cast<std::int32_t>(type)) + ", which no graph of ours has; " + kRebuild);
  }
}

std::size_t component_bytes(DType dtype) {
  switch (dtype) {
    case DType::kUInt8:
      return 1;
    case DType::kFloat16:
    case DType::kBFloat16:
      return 2;
    case DType::kFloat32:
    case DType::kInt32:
      break;
  }
  return 4;
}

bool within(const nvinfer1::Dims& shape, const nvinfer1::Dims& least, const nvinfer1::Dims& most) {
  if (shape.nbDims != least.nbDims) return false;
  for (std::int32_t i = 0; i < shape.nbDims; ++i) {
    if (shape.d[i] < least.d[i] || shape.d[i] > most.d[i]) return false;
  }
  return true;
}

/// Throws what is to be said of a plan that did not deserialize. An out-of-memory error hides among the other reasons.
[[noreturn]] void refuse_plan(const Library& library, const Options& options, std::size_t bytes,
                              const std::string& reason) {
  const std::string subject = NAVIT_EDGE_TENSORRT_PRODUCT " " + library.version_text() + " cannot open the engine (" +
                              std::to_string(bytes) + " bytes): " + reason;
  std::string lower = reason;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const bool no_memory = library.api.cudaGetLastError() == cudaErrorMemoryAllocation ||
                         lower.find("out of memory") != std::string::npos ||
                         lower.find("outofmemory") != std::string::npos;
  if (no_memory) {
    throw BackendError(subject + "; the GPU has too little memory for its weights (" + free_memory(library.api) +
                       " free); close other programs, or build an engine of a smaller --precision");
  }
  if (options.version_compatible && options.lean_runtime.empty()) {
    throw BackendError(subject +
                       "; a version-compatible engine of another version needs the lean runtime of that version: " +
                       "option lean_runtime=/path/libnvinfer_lean.so; or " + kRebuild);
  }
  throw BackendError(subject + "; expected one built by this version for this GPU; " + kRebuild);
}

}  // namespace

Plan::Plan(const Library& library, const Options& options, const navit_edge_bytes& content)
    : logger_(std::make_unique<Logger>()) {
  Logger::Call said(*logger_);
  // A library of this major version that is older than the headers refuses the headers' version; what is called here
  // has been there since the oldest version that library.cc lets pass.
  const std::int32_t speak = std::min(kHeadersVersion, library.version);
  runtime_.reset(static_cast<nvinfer1::IRuntime*>(library.api.createInferRuntime_INTERNAL(logger_.get(), speak)));
  if (runtime_ == nullptr) {
    throw BackendError(NAVIT_EDGE_TENSORRT_PRODUCT " " + library.version_text() + " does not start: " + said.take() +
                       "; check nvidia-smi and the library at " + library.path);
  }
  if (options.host_code) runtime_->setEngineHostCodeAllowed(true);
  nvinfer1::IRuntime* opener = runtime_.get();
  if (!options.lean_runtime.empty()) {
    lean_.reset(runtime_->loadRuntime(options.lean_runtime.c_str()));
    opener = lean_.get();
    if (opener == nullptr) {
      throw BackendError("option lean_runtime names " + options.lean_runtime + ", which does not open: " + said.take() +
                         "; expected the libnvinfer_lean.so of the TensorRT that built the engine");
    }
  }
  engine_.reset(opener->deserializeCudaEngine(content.data, content.size));
  if (engine_ == nullptr) refuse_plan(library, options, content.size, said.take());

  for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
    const char* name = engine_->getIOTensorName(i);
    if (name == nullptr)
      throw BackendError("the engine does not name its tensor " + std::to_string(i) + "; " + kRebuild);
    TensorInfo tensor{name, dtype_of(name, engine_->getTensorDataType(name))};
    if (engine_->getTensorLocation(name) != nvinfer1::TensorLocation::kDEVICE ||
        engine_->getTensorFormat(name) != nvinfer1::TensorFormat::kLINEAR) {
      throw BackendError("tensor " + tensor.name + " of the engine is not a linear one on the GPU; " + kRebuild);
    }
    const bool is_input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
    (is_input ? inputs_ : outputs_).push_back(std::move(tensor));
  }
  if (inputs_.empty() || outputs_.empty())
    throw BackendError(std::string("the engine has no inputs or no outputs; ") + kRebuild);

  for (std::int32_t index = 0; index < engine_->getNbOptimizationProfiles(); ++index) {
    Profile profile;
    profile.index = index;
    profile.arena_bytes = arena_bytes(*engine_, index);
    for (const TensorInfo& input : inputs_) {
      using Select = nvinfer1::OptProfileSelector;
      profile.least.push_back(engine_->getProfileShape(input.name.c_str(), index, Select::kMIN));
      profile.most.push_back(engine_->getProfileShape(input.name.c_str(), index, Select::kMAX));
      if (profile.least.back().nbDims < 0 || profile.most.back().nbDims != profile.least.back().nbDims ||
          profile.arena_bytes < 0) {
        throw BackendError("the engine does not describe its profile " + std::to_string(index) + ": " + said.take() +
                           "; " + kRebuild);
      }
      profile.fixed = profile.fixed && equal(profile.least.back(), profile.most.back());
    }
    profiles_.push_back(std::move(profile));
  }
  if (profiles_.empty()) throw BackendError(std::string("the engine has no profile; ") + kRebuild);
}

std::size_t Plan::profile_for(std::span<const navit_edge_tensor* const> tensors) const {
  for (std::size_t p = 0; p < profiles_.size(); ++p) {
    bool fits = true;
    for (std::size_t i = 0; fits && i < tensors.size(); ++i) {
      fits = within(dims_of(*tensors[i]), profiles_[p].least[i], profiles_[p].most[i]);
    }
    if (fits) return p;
  }
  std::string message = "the inputs have the shapes";
  for (const navit_edge_tensor* tensor : tensors)
    message += std::string(" ") + tensor->name + " " + tensorrt::words(dims_of(*tensor));
  message += "; the engine takes";
  for (const Profile& profile : profiles_) {
    message += profile.index == 0 ? " " : ", or ";
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (i > 0) message += " ";
      message += inputs_[i].name + " " + tensorrt::words(profile.least[i]);
      if (!equal(profile.least[i], profile.most[i])) message += " to " + tensorrt::words(profile.most[i]);
    }
  }
  throw InvalidInput(message + "; the manifest's budgets and the engine's profiles differ: rebuild the engine");
}

std::string Plan::words(const Profile& profile) const {
  const nvinfer1::Dims& first = profile.most.front();  // T is the first extent of the first input
  return std::to_string(first.nbDims > 0 ? first.d[0] : 1) + " tokens";
}

std::size_t bytes_of(const TensorInfo& tensor, const nvinfer1::Dims& shape) {
  std::size_t bytes = component_bytes(tensor.dtype);
  for (std::int32_t i = 0; i < shape.nbDims; ++i) {
    if (shape.d[i] < 0) break;
    bytes *= static_cast<std::size_t>(shape.d[i]);
  }
  if (shape.nbDims < 0 || std::any_of(shape.d, shape.d + std::max(shape.nbDims, 0), [](auto d) { return d < 0; })) {
    throw BackendError("the shape of " + tensor.name + " is not known before the run: " + words(shape) + "; " +
                       kRebuild);
  }
  return bytes;
}

std::string words(const nvinfer1::Dims& shape) {
  std::string text = "[";
  for (std::int32_t i = 0; i < shape.nbDims; ++i) text += (i > 0 ? ", " : "") + std::to_string(shape.d[i]);
  return text + "]";
}

nvinfer1::Dims dims_of(const navit_edge_tensor& tensor) {
  nvinfer1::Dims dims{};
  if (tensor.rank < 0 || tensor.rank > nvinfer1::Dims::MAX_DIMS) {
    throw InvalidInput(std::string("tensor ") + tensor.name + " has " + std::to_string(tensor.rank) +
                       " dimensions; expected at most " + std::to_string(nvinfer1::Dims::MAX_DIMS));
  }
  dims.nbDims = tensor.rank;
  std::copy_n(tensor.shape, tensor.rank, dims.d);
  return dims;
}

bool equal(const nvinfer1::Dims& a, const nvinfer1::Dims& b) {
  return a.nbDims == b.nbDims && std::equal(a.d, a.d + std::max(a.nbDims, 0), b.d);
}

}  // namespace navit_edge::tensorrt

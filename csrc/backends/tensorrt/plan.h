// A deserialized engine: its tensors and its profiles, one for each token budget.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "library.h"
#include "logger.h"
#include "navit_edge/backend_abi.h"
#include "navit_edge/types.h"

namespace navit_edge::tensorrt {

struct TensorInfo {
  std::string name;
  DType dtype = DType::kFloat32;
};

/// The shapes that one optimization profile takes: min = opt = max if T and N are padded to the budget.
struct Profile {
  std::int32_t index = 0;
  std::vector<nvinfer1::Dims> least;  // [inputs]
  std::vector<nvinfer1::Dims> most;   // [inputs]
  std::int64_t arena_bytes = 0;
  bool fixed = true;  // least = most: every pack of this budget has the same shapes
};

class Plan {
 public:
  /// Deserializes the content, which is not needed any more then. Throws BackendError.
  Plan(const Library& library, const Options& options, const navit_edge_bytes& content);

  [[nodiscard]] nvinfer1::ICudaEngine& engine() const noexcept { return *engine_; }
  [[nodiscard]] Logger& logger() const noexcept { return *logger_; }
  [[nodiscard]] const std::vector<TensorInfo>& inputs() const noexcept { return inputs_; }
  [[nodiscard]] const std::vector<TensorInfo>& outputs() const noexcept { return outputs_; }
  [[nodiscard]] const std::vector<Profile>& profiles() const noexcept { return profiles_; }

  /// The first profile, so the smallest budget, that takes the shapes of `tensors` [inputs]. Throws InvalidInput.
  [[nodiscard]] std::size_t profile_for(std::span<const navit_edge_tensor* const> tensors) const;

  /// "256 tokens": how errors name a profile.
  [[nodiscard]] std::string words(const Profile& profile) const;

 private:
  std::unique_ptr<Logger> logger_;  // outlives the runtime
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
  std::unique_ptr<nvinfer1::IRuntime> lean_;  // of the version that built the plan, if option lean_runtime names it
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
  std::vector<Profile> profiles_;
};

/// Bytes of a tensor; throws BackendError if an extent is not known.
std::size_t bytes_of(const TensorInfo& tensor, const nvinfer1::Dims& shape);

/// "[256, 768]"
std::string words(const nvinfer1::Dims& shape);

/// The shape of a tensor of the ABI. Throws InvalidInput if TensorRT has no room for it.
nvinfer1::Dims dims_of(const navit_edge_tensor& tensor);

bool equal(const nvinfer1::Dims& a, const nvinfer1::Dims& b);

}  // namespace navit_edge::tensorrt

// What a simulated plan file says, and the OpenVINO model that gives its numbers. Not TensorRT's format.
#pragma once

#include <cstdint>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

#include "NvInferRuntime.h"

namespace simulator {

struct SimulatedTensor {
  std::string name;
  nvinfer1::DataType type;
  nvinfer1::Dims shape;  // as in the ONNX file, -1 where it varies
  char letter = 'T';     // of its first extent: T or N
  bool input = true;
};

struct SimulatedProfile {
  std::int64_t least_tokens = 0, tokens = 0, least_images = 0, images = 0;
};

struct PlanFile {
  /// Reads the text of a plan: `onnx PATH`, `memory_per_token BYTES`, `profile T_MIN T_MAX N_MIN N_MAX` a budget.
  /// Throws std::exception where it is none.
  explicit PlanFile(const std::string& text);

  [[nodiscard]] const SimulatedTensor* find(const char* name) const;
  [[nodiscard]] std::int64_t memory(std::int32_t profile) const;

  std::int64_t memory_per_token = 0;
  std::vector<SimulatedTensor> tensors;
  std::vector<SimulatedProfile> profiles;
  mutable ov::CompiledModel model;  // making a request is no const call of OpenVINO's
};

}  // namespace simulator

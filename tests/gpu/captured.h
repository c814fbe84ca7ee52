// CUDA graphs that the process has captured elsewhere (by PyTorch), kept under a name for the engines that launch them.
#pragma once

#include <cuda.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "NvInferRuntime.h"

namespace stand_in {

/// An input or an output: where the captured graph reads or writes it, on the device.
struct Tensor {
  std::string name;
  nvinfer1::DataType type = nvinfer1::DataType::kFLOAT;
  bool input = true;
  nvinfer1::Dims shape{};
  CUdeviceptr address = 0;
  std::size_t bytes = 0;
};

/// A graph with its own memory, so that one pass of it can be in flight at a time.
struct Captured {
  CUgraph graph = nullptr;  // who captured it keeps it alive
  std::vector<Tensor> tensors;
  bool taken = false;

  [[nodiscard]] const Tensor* find(const std::string& name) const;
};

/// The graphs of one model: for each budget one shape, captured as often as passes may be in flight.
class Model {
 public:
  /// The model of that name; null if nothing was captured under it.
  static std::shared_ptr<Model> named(const std::string& name);

  /// Adds a graph; budgets come in their order. Throws std::runtime_error where its tensors are not the others'.
  static void add(const std::string& name, std::size_t budget, Captured captured);
  /// Forgets a model; engines that are open keep it.
  static void forget(const std::string& name);

  [[nodiscard]] std::size_t budgets() const { return graphs_.size(); }
  [[nodiscard]] const Captured& first(std::size_t budget) const { return *graphs_.at(budget).front(); }

  /// A graph of that budget that no one else has, until it is let go; null if all are taken.
  Captured* take(std::size_t budget);
  void let_go(Captured* captured);

 private:
  std::vector<std::vector<std::unique_ptr<Captured>>> graphs_;  // [budgets][passes in flight]
};

}  // namespace stand_in

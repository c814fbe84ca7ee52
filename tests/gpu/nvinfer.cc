// A stand-in for libnvinfer.so.10 at TensorRT's public interface, on a real CUDA driver: a pass copies the bound
// inputs, launches a CUDA graph that PyTorch captured, and copies the outputs. Not NVIDIA's: it shows our host code on
// a real driver, and nothing of TensorRT's kernels, numbers or speed.
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <sstream>
#include <string>

// NvInferRuntime.h comes first: it brings the apiv interfaces of NvInferImpl.h.
#include "NvInferRuntime.h"
#include "captured.h"
#include "driver.h"
#include "unused_calls.h"

#define STAND_IN_EXPORT extern "C" __attribute__((visibility("default")))

using namespace nvinfer1;  // the interfaces that are implemented here, all of them NVIDIA's names

namespace {

std::atomic<long> unknown_calls{0};

}  // namespace

void simulator::unknown_call(const char* call) noexcept {
  ++unknown_calls;
  std::fprintf(stderr, "stand-in for TensorRT: %s is not there\n", call);
}

namespace stand_in {
namespace {

using simulator::UnusedContextCalls;
using simulator::UnusedEngineCalls;
using simulator::UnusedRuntimeCalls;

constexpr const char* kMagic = "navit-edge plan for the stand-in on CUDA";

/// What a plan says: lines of `model NAME`, `arena BYTES`, `refuses captures`.
struct StandInPlan {
  explicit StandInPlan(const std::string& text) {
    std::istringstream lines(text);
    std::string line;
    if (!std::getline(lines, line) || line != kMagic) throw std::runtime_error("magic tag mismatch");
    while (std::getline(lines, line)) {
      if (line == "refuses captures") {
        refuses_captures = true;
      } else if (line.starts_with("arena ")) {
        arena_bytes = std::stoll(line.substr(6));
      } else if (line.starts_with("model ")) {
        model = Model::named(line.substr(6));
        if (model == nullptr)
          throw std::runtime_error("this process has captured no graphs of " + line.substr(6) + "; capture them first");
      }
    }
    if (model == nullptr) throw std::runtime_error("it names no model");
  }

  std::shared_ptr<Model> model;
  std::int64_t arena_bytes = 0;
  bool refuses_captures = false;
};

class Context final : public IExecutionContext, public UnusedContextCalls {
 public:
  Context(std::shared_ptr<const StandInPlan> plan, const ICudaEngine& engine, ILogger* logger)
      : plan_(std::move(plan)), engine_(engine), logger_(logger) {
    IExecutionContext::mImpl = this;
  }
  ~Context() noexcept override {
    if (executable_ != nullptr) Driver::get().cuGraphExecDestroy(executable_);
    if (captured_ != nullptr) plan_->model->let_go(captured_);
  }

  IExecutionContext* getPImpl() noexcept override { return this; }
  const ICudaEngine& getEngine() const noexcept override { return engine_; }

  bool setOptimizationProfileAsync(std::int32_t index, cudaStream_t) noexcept override {
    if (captured_ != nullptr) return fail("a context was switched to another profile");
    if (index < 0 || static_cast<std::size_t>(index) >= plan_->model->budgets()) return fail("no such profile");
    captured_ = plan_->model->take(static_cast<std::size_t>(index));
    if (captured_ == nullptr)
      return fail("more contexts of a profile than graphs of it were captured; capture one for each slot");
    profile_ = index;
    return done(Driver::get().cuGraphInstantiateWithFlags(&executable_, captured_->graph, 0), "instantiating a graph");
  }
  std::int32_t getOptimizationProfile() const noexcept override { return profile_; }

  void setDeviceMemoryV2(void* memory, std::int64_t bytes) noexcept override {
    arena_ = device(memory);
    arena_bytes_ = bytes;
  }

  bool setInputShape(const char* name, const Dims& shape) noexcept override {
    const Tensor* tensor = find(name);
    if (tensor == nullptr || !tensor->input) return fail("setInputShape: no such input");
    bool equal = shape.nbDims == tensor->shape.nbDims;
    for (std::int32_t i = 0; equal && i < shape.nbDims; ++i) equal = shape.d[i] == tensor->shape.d[i];
    return equal || fail("setInputShape: the graph was captured with another shape");
  }
  Dims getTensorShape(const char* name) const noexcept override {
    const Tensor* tensor = find(name);
    return tensor != nullptr ? tensor->shape : Dims{-1, {}};
  }
  bool setTensorAddress(const char* name, void* address) noexcept override {
    if (plan_->model->first(0).find(name) == nullptr) return fail("setTensorAddress: no such tensor");
    if (reinterpret_cast<std::uintptr_t>(address) % 256 != 0)
      return fail("a tensor's address is not aligned to 256 bytes");
    addresses_[name] = device(address);
    return true;
  }

  bool enqueueV3(cudaStream_t stream) noexcept override {
    const Driver& driver = Driver::get();
    if (captured_ == nullptr) return fail("enqueueV3: no profile was set");
    if (arena_bytes_ < plan_->arena_bytes) return fail("enqueueV3: less device memory than the profile needs");
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    cuuint64_t id = 0;
    CUgraph graph = nullptr;
    const CUgraphNode* after = nullptr;
    std::size_t count = 0;
    const auto look = [&] {
      return done(driver.cuStreamGetCaptureInfo_v2(stream, &status, &id, &graph, &after, &count), "asking the stream");
    };
    if (!look()) return false;
    const bool capturing = status != CU_STREAM_CAPTURE_STATUS_NONE;
    if (capturing && plan_->refuses_captures) {
      driver.cuStreamSynchronize(stream);  // what a layer does that cannot be captured: the driver ends the capture
      return fail("a layer cannot be captured");
    }
    // A pass of TensorRT's may write anywhere in its arena.
    if (plan_->arena_bytes > 0 &&
        !done(driver.cuMemsetD8Async(arena_, 0xA5, static_cast<std::size_t>(plan_->arena_bytes), stream),
              "writing into the arena"))
      return false;
    if (!copy(driver, true, stream)) return false;
    if (!capturing) {
      if (!done(driver.cuGraphLaunch(executable_, stream), "launching the graph")) return false;
    } else {
      CUgraphNode node = nullptr;
      if (!look() ||
          !done(driver.cuGraphAddChildGraphNode(&node, graph, after, count, captured_->graph), "adding the graph") ||
          !done(driver.cuStreamUpdateCaptureDependencies(stream, &node, 1, CU_STREAM_SET_CAPTURE_DEPENDENCIES),
                "ordering what follows"))
        return false;
    }
    return copy(driver, false, stream);
  }

 private:
  static CUdeviceptr device(const void* address) {
    return static_cast<CUdeviceptr>(reinterpret_cast<std::uintptr_t>(address));
  }

  [[nodiscard]] const Tensor* find(const char* name) const {
    return captured_ != nullptr ? captured_->find(name) : nullptr;
  }

  /// The bound inputs to where the graph reads them, or what it wrote to the bound outputs.
  bool copy(const Driver& driver, bool inputs, CUstream stream) const {
    for (const Tensor& tensor : captured_->tensors) {
      if (tensor.input != inputs) continue;
      const auto bound = addresses_.find(tensor.name);
      if (bound == addresses_.end()) return fail("enqueueV3 without the address of " + tensor.name);
      const CUdeviceptr to = inputs ? tensor.address : bound->second;
      const CUdeviceptr from = inputs ? bound->second : tensor.address;
      if (!done(driver.cuMemcpyAsync(to, from, tensor.bytes, stream), "copying " + tensor.name)) return false;
    }
    return true;
  }

  bool done(CUresult status, const std::string& at) const {
    const std::string said = failure(status, at);
    return said.empty() || fail(said);
  }
  bool fail(const std::string& text) const {
    logger_->log(ILogger::Severity::kERROR, text.c_str());
    return false;
  }

  std::shared_ptr<const StandInPlan> plan_;
  const ICudaEngine& engine_;
  ILogger* logger_;
  std::int32_t profile_ = 0;
  Captured* captured_ = nullptr;
  CUgraphExec executable_ = nullptr;
  CUdeviceptr arena_ = 0;
  std::int64_t arena_bytes_ = 0;
  std::map<std::string, CUdeviceptr> addresses_;
};

class Engine final : public ICudaEngine, public UnusedEngineCalls {
 public:
  Engine(std::shared_ptr<const StandInPlan> plan, ILogger* logger) : plan_(std::move(plan)), logger_(logger) {
    ICudaEngine::mImpl = this;
  }
  ~Engine() noexcept override = default;

  ICudaEngine* getPImpl() noexcept override { return this; }
  std::int32_t getNbIOTensors() const noexcept override { return static_cast<std::int32_t>(tensors().size()); }
  const char* getIOTensorName(std::int32_t index) const noexcept override {
    return tensors().at(static_cast<std::size_t>(index)).name.c_str();
  }
  DataType getTensorDataType(const char* name) const noexcept override { return find(name).type; }
  TensorLocation getTensorLocation(const char*) const noexcept override { return TensorLocation::kDEVICE; }
  TensorFormat getTensorFormat(const char*) const noexcept override { return TensorFormat::kLINEAR; }
  TensorIOMode getTensorIOMode(const char* name) const noexcept override {
    return find(name).input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
  }
  std::int32_t getNbOptimizationProfiles() const noexcept override {
    return static_cast<std::int32_t>(plan_->model->budgets());
  }
  Dims getProfileShape(const char* name, std::int32_t index, OptProfileSelector) const noexcept override {
    return plan_->model->first(static_cast<std::size_t>(index)).find(name)->shape;  // a graph has one shape
  }
  std::int64_t getDeviceMemorySizeForProfileV2(std::int32_t) const noexcept override { return plan_->arena_bytes; }
  IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept override {
    if (strategy == ExecutionContextAllocationStrategy::kUSER_MANAGED) return new Context(plan_, *this, logger_);
    logger_->log(ILogger::Severity::kERROR, "createExecutionContext: a context with memory of its own is not there");
    return nullptr;
  }

 private:
  [[nodiscard]] const std::vector<Tensor>& tensors() const { return plan_->model->first(0).tensors; }
  [[nodiscard]] const Tensor& find(const char* name) const { return *plan_->model->first(0).find(name); }

  std::shared_ptr<const StandInPlan> plan_;
  ILogger* logger_;
};

class Runtime final : public IRuntime, public UnusedRuntimeCalls {
 public:
  explicit Runtime(ILogger* logger) : logger_(logger) { IRuntime::mImpl = this; }
  ~Runtime() noexcept override = default;

  IRuntime* getPImpl() noexcept override { return this; }
  ICudaEngine* deserializeCudaEngine(const void* blob, std::size_t size) noexcept override {
    try {
      Driver::get();
      return new Engine(std::make_shared<const StandInPlan>(std::string(static_cast<const char*>(blob), size)),
                        logger_);
    } catch (const std::exception& e) {
      logger_->log(ILogger::Severity::kERROR, (std::string("deserializeCudaEngine: ") + e.what()).c_str());
      return nullptr;
    }
  }
  IRuntime* loadRuntime(const char*) noexcept override { return simulator::unused<IRuntime*>("loadRuntime"); }

 private:
  ILogger* logger_;
};

/// What went wrong in the last call of `navit_edge_stand_in_add` of this thread.
thread_local std::string added_wrongly;

}  // namespace
}  // namespace stand_in

STAND_IN_EXPORT std::int32_t getInferLibVersion() noexcept { return NV_TENSORRT_VERSION; }

STAND_IN_EXPORT void* createInferRuntime_INTERNAL(void* logger, std::int32_t) noexcept {
  return static_cast<IRuntime*>(new stand_in::Runtime(static_cast<ILogger*>(logger)));
}

// What scripts/proof/stand_in.py calls.

struct navit_edge_stand_in_tensor {
  const char* name;
  std::int32_t type;  // nvinfer1::DataType
  std::int32_t input;
  std::int32_t rank;
  const std::int64_t* shape;
  std::uint64_t address;
  std::uint64_t bytes;
};

/// Keeps a captured graph for the engines of `model`, until it is forgotten. Null, or what is wrong.
STAND_IN_EXPORT const char* navit_edge_stand_in_add(const char* model, std::uint64_t budget, CUgraph graph,
                                                    const navit_edge_stand_in_tensor* tensors, std::uint64_t count) {
  try {
    stand_in::Captured captured;
    captured.graph = graph;
    for (std::uint64_t i = 0; i < count; ++i) {
      const navit_edge_stand_in_tensor& given = tensors[i];
      stand_in::Tensor tensor{given.name,    static_cast<DataType>(given.type),    given.input != 0, {},
                              given.address, static_cast<std::size_t>(given.bytes)};
      if (given.rank > Dims::MAX_DIMS) throw std::runtime_error("more dimensions than TensorRT has");
      tensor.shape.nbDims = given.rank;
      for (std::int32_t d = 0; d < given.rank; ++d) tensor.shape.d[d] = given.shape[d];
      captured.tensors.push_back(tensor);
    }
    stand_in::Model::add(model, static_cast<std::size_t>(budget), std::move(captured));
  } catch (const std::exception& e) {
    stand_in::added_wrongly = e.what();
    return stand_in::added_wrongly.c_str();
  }
  return nullptr;
}

STAND_IN_EXPORT void navit_edge_stand_in_forget(const char* model) { stand_in::Model::forget(model); }

/// How many functions of TensorRT were called that the stand-in does not have.
STAND_IN_EXPORT long navit_edge_stand_in_unknown_calls() { return unknown_calls; }

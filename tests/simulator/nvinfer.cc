// A stand-in for libnvinfer.so.10 at TensorRT's public interface, with the documented rules enforced and OpenVINO's
// numbers. Not NVIDIA's: it shows that our host code keeps to the interface, not how TensorRT behaves.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <thread>

// NvInferRuntime.h comes first: it brings the apiv interfaces of NvInferImpl.h.
#include "NvInferRuntime.h"
#include "device.h"
#include "plan_file.h"
#include "unused_calls.h"

using namespace nvinfer1;  // the interfaces that are implemented here, all of them NVIDIA's names

#if defined(__SANITIZE_THREAD__)
extern "C" void AnnotateIgnoreSyncBegin(const char* file, int line);
extern "C" void AnnotateIgnoreSyncEnd(const char* file, int line);
#endif

namespace simulator {
namespace {

/// OpenVINO's locks order the passes of two slots, which a GPU's streams do not: while it lives, the thread sanitizer
/// takes no lock of this thread's for an order.
struct Unordered {
#if defined(__SANITIZE_THREAD__)
  Unordered() { AnnotateIgnoreSyncBegin(__FILE__, __LINE__); }
  ~Unordered() { AnnotateIgnoreSyncEnd(__FILE__, __LINE__); }
#else
  Unordered() {}
#endif
  Unordered(const Unordered&) = delete;
  Unordered& operator=(const Unordered&) = delete;
};

void say(ILogger* logger, const std::string& text) { logger->log(ILogger::Severity::kERROR, text.c_str()); }

class Context final : public IExecutionContext, public UnusedContextCalls {
 public:
  Context(std::shared_ptr<const PlanFile> plan, const ICudaEngine& engine, ILogger* logger)
      : plan_(std::move(plan)), engine_(engine), logger_(logger), request_(plan_->model.create_infer_request()) {
    IExecutionContext::mImpl = this;
    count_live("execution context", 1);
  }
  ~Context() noexcept override {
    if (in_flight_ > 0 && sticky() == cudaSuccess)
      violation("a context was destroyed while a pass of it was in flight");
    count_live("execution context", -1);
  }

  IExecutionContext* getPImpl() noexcept override { return this; }
  const ICudaEngine& getEngine() const noexcept override { return engine_; }

  bool setOptimizationProfileAsync(std::int32_t index, cudaStream_t) noexcept override {
    if (must_fail("setOptimizationProfileAsync")) return fail("setOptimizationProfileAsync: simulated failure");
    if (index < 0 || static_cast<std::size_t>(index) >= plan_->profiles.size()) return fail("no such profile");
    if (bound_ && index != profile_) violation("a context was switched to another profile");
    profile_ = index;
    bound_ = true;
    return true;
  }
  std::int32_t getOptimizationProfile() const noexcept override { return profile_; }

  void setDeviceMemoryV2(void* memory, std::int64_t bytes) noexcept override {
    if (reinterpret_cast<std::uintptr_t>(memory) % 256 != 0) violation("device memory is not aligned to 256 bytes");
    arena_ = memory;
    arena_bytes_ = bytes;
  }

  bool setInputShape(const char* name, const Dims& shape) noexcept override {
    if (must_fail("setInputShape")) return fail("setInputShape: simulated failure");
    if (!bound_) violation("setInputShape was called before setOptimizationProfileAsync");
    if (in_flight_ > 0) violation("a shape was changed while a pass was in flight");
    const SimulatedTensor* tensor = plan_->find(name);
    if (tensor == nullptr || !tensor->input || shape.nbDims != tensor->shape.nbDims)
      return fail("setInputShape: no such input");
    for (std::int32_t i = 1; i < shape.nbDims; ++i) {
      if (tensor->shape.d[i] >= 0 && tensor->shape.d[i] != shape.d[i])
        return fail("setInputShape: a fixed extent differs");
    }
    const SimulatedProfile& profile = plan_->profiles[static_cast<std::size_t>(profile_)];
    const bool per_image = tensor->letter == 'N';
    if (shape.d[0] < (per_image ? profile.least_images : profile.least_tokens) ||
        shape.d[0] > (per_image ? profile.images : profile.tokens)) {
      violation("setInputShape was given a shape outside of the profile");
      return fail("setInputShape: outside of the profile");
    }
    shapes_[name] = shape;
    return true;
  }

  Dims getTensorShape(const char* name) const noexcept override {
    const SimulatedTensor* tensor = plan_->find(name);
    if (tensor == nullptr || must_fail("getTensorShape")) return Dims{-1, {}};
    if (tensor->input) return shapes_.contains(name) ? shapes_.at(name) : tensor->shape;
    Dims shape = tensor->shape;
    for (const SimulatedTensor& input : plan_->tensors) {
      if (!input.input || input.letter != tensor->letter) continue;
      const auto set = shapes_.find(input.name);
      if (set != shapes_.end()) shape.d[0] = set->second.d[0];
    }
    return shape;
  }

  bool setTensorAddress(const char* name, void* address) noexcept override {
    if (must_fail("setTensorAddress")) return fail("setTensorAddress: simulated failure");
    if (plan_->find(name) == nullptr) return fail("setTensorAddress: no such tensor");
    if (reinterpret_cast<std::uintptr_t>(address) % 256 != 0)
      violation("a tensor's address is not aligned to 256 bytes");
    addresses_[name] = address;
    return true;
  }

  bool enqueueV3(cudaStream_t stream) noexcept override {
    // No "refused": false does not tell the caller that CUDA has failed, so it may go on and ask.
    if (sticky() != cudaSuccess) return fail("enqueueV3: CUDA refuses");
    if (const long refuse = setting("REFUSE_ENQUEUE", 0); refuse != 0) return fail_slowly(refuse);
    if (must_fail("enqueueV3")) {
      if (is_capturing(stream)) invalidate_capture(stream);
      return fail("enqueueV3: simulated failure");
    }
    const bool capturing = is_capturing(stream);
    if (capturing && setting("NO_CAPTURE", 0) != 0) {
      invalidate_capture(stream);
      return fail("enqueueV3: a layer cannot be captured");
    }
    if (capturing && !ran_) violation("a pass was captured before one had run with these shapes");
    std::map<std::string, Binding> bindings;
    for (const SimulatedTensor& tensor : plan_->tensors) {
      if (tensor.input && !shapes_.contains(tensor.name)) return rule("enqueueV3 without the shape of " + tensor.name);
      if (!addresses_.contains(tensor.name)) return rule("enqueueV3 without the address of " + tensor.name);
      Binding binding;
      binding.shape = shape_of(tensor);
      std::size_t bytes = tensor.type == DataType::kUINT8 ? 1 : 4;
      for (const std::size_t extent : binding.shape) bytes *= extent;
      binding.data = bytes_at(addresses_.at(tensor.name), bytes);
      if (binding.data == nullptr) return rule("the address of " + tensor.name + " is no device memory of its size");
      bindings[tensor.name] = binding;
    }
    if (plan_->memory(profile_) > 0 &&
        (arena_ == nullptr || arena_bytes_ < plan_->memory(profile_) ||
         bytes_at(arena_, static_cast<std::size_t>(plan_->memory(profile_))) == nullptr)) {
      return rule("enqueueV3 without device memory of the size that the profile needs");
    }
    if (!capturing && ++in_flight_ > 1) violation("a context was enqueued while another pass of it was in flight");
    const bool pushed = push(stream, [this, stream, capturing, bindings] {
      if (capturing && ++in_flight_ > 1) violation("a context was replayed while another pass of it was in flight");
      const cudaError_t status = compute(stream, bindings);
      --in_flight_;
      return status;
    });
    if (!pushed) return rule("enqueueV3 was given no stream");
    count_event(capturing ? "capture" : "enqueue");
    ran_ = true;
    return true;
  }

 private:
  struct Binding {
    void* data = nullptr;
    ov::Shape shape;
  };

  bool fail(const std::string& text) const noexcept {
    say(logger_, text);
    return false;
  }
  /// Says which budget failed, from this thread (1) or from one of its own (2), and returns when other threads have
  /// failed too.
  bool fail_slowly(long how) const noexcept {
    const std::string text = "enqueueV3: refused at " +
                             std::to_string(plan_->profiles[static_cast<std::size_t>(profile_)].tokens) + " tokens";
    if (how == 2) {
      std::thread([&] { say(logger_, text); }).join();
    } else {
      say(logger_, text);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (how == 1) say(logger_, "enqueueV3: what follows from it");
    return false;
  }
  bool rule(const std::string& text) const noexcept {
    violation(text);
    return fail(text);
  }

  ov::Shape shape_of(const SimulatedTensor& tensor) const {
    Dims dims = tensor.shape;
    for (const auto& [name, shape] : shapes_) {
      if (plan_->find(name.c_str())->letter == tensor.letter) dims.d[0] = shape.d[0];
    }
    return {dims.d, dims.d + dims.nbDims};
  }

  cudaError_t compute(cudaStream_t stream, const std::map<std::string, Binding>& bindings) {
    if (!take_arena(arena_, stream)) violation("two passes in flight use one arena");
    cudaError_t status = cudaSuccess;
    try {
      // A pass may write anywhere in its arena.
      std::memset(bytes_at(arena_, static_cast<std::size_t>(plan_->memory(profile_))), 0xA5,
                  static_cast<std::size_t>(plan_->memory(profile_)));
      for (const SimulatedTensor& tensor : plan_->tensors) {
        const Binding& binding = bindings.at(tensor.name);
        if (!tensor.input) continue;
        const ov::element::Type type = tensor.type == DataType::kUINT8 ? ov::element::u8 : ov::element::i32;
        request_.set_tensor(tensor.name, ov::Tensor(type, binding.shape, binding.data));
      }
      {
        const Unordered unordered;
        request_.infer();
      }
      for (const SimulatedTensor& tensor : plan_->tensors) {
        if (tensor.input) continue;
        const ov::Tensor made = request_.get_tensor(tensor.name);
        if (made.get_shape() != bindings.at(tensor.name).shape)
          violation("the stand-in made another shape than it said");
        std::memcpy(bindings.at(tensor.name).data, made.data(), made.get_byte_size());
      }
    } catch (const std::exception& e) {
      say(logger_, e.what());
      status = cudaErrorLaunchFailure;
    }
    leave_arena(arena_);
    return status;
  }

  std::shared_ptr<const PlanFile> plan_;
  const ICudaEngine& engine_;
  ILogger* logger_;
  ov::InferRequest request_;
  std::int32_t profile_ = 0;
  bool bound_ = false;
  bool ran_ = false;
  void* arena_ = nullptr;
  std::int64_t arena_bytes_ = 0;
  std::map<std::string, Dims> shapes_;
  std::map<std::string, void*> addresses_;
  std::atomic<int> in_flight_{0};
};

class Engine final : public ICudaEngine, public UnusedEngineCalls {
 public:
  Engine(std::shared_ptr<const PlanFile> plan, ILogger* logger) : plan_(std::move(plan)), logger_(logger) {
    ICudaEngine::mImpl = this;
    count_live("engine", 1);
  }
  ~Engine() noexcept override { count_live("engine", -1); }

  ICudaEngine* getPImpl() noexcept override { return this; }
  std::int32_t getNbIOTensors() const noexcept override { return static_cast<std::int32_t>(plan_->tensors.size()); }
  const char* getIOTensorName(std::int32_t index) const noexcept override {
    if (must_fail("getIOTensorName")) return nullptr;
    return plan_->tensors[static_cast<std::size_t>(index)].name.c_str();
  }
  DataType getTensorDataType(const char* name) const noexcept override { return plan_->find(name)->type; }
  TensorLocation getTensorLocation(const char*) const noexcept override { return TensorLocation::kDEVICE; }
  TensorFormat getTensorFormat(const char*) const noexcept override { return TensorFormat::kLINEAR; }
  TensorIOMode getTensorIOMode(const char* name) const noexcept override {
    return plan_->find(name)->input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
  }
  std::int32_t getNbOptimizationProfiles() const noexcept override {
    return static_cast<std::int32_t>(plan_->profiles.size());
  }
  Dims getProfileShape(const char* name, std::int32_t index, OptProfileSelector select) const noexcept override {
    if (must_fail("getProfileShape")) return Dims{-1, {}};
    const SimulatedTensor& tensor = *plan_->find(name);
    const SimulatedProfile& profile = plan_->profiles[static_cast<std::size_t>(index)];
    const bool least = select == OptProfileSelector::kMIN;
    Dims shape = tensor.shape;
    shape.d[0] = tensor.letter == 'N' ? (least ? profile.least_images : profile.images)
                                      : (least ? profile.least_tokens : profile.tokens);
    return shape;
  }
  std::int64_t getDeviceMemorySizeForProfileV2(std::int32_t index) const noexcept override {
    return plan_->memory(index);
  }
  IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept override {
    if (strategy != ExecutionContextAllocationStrategy::kUSER_MANAGED) violation("a context with memory of its own");
    if (must_fail("createExecutionContext")) {
      say(logger_, "createExecutionContext: simulated failure");
      return nullptr;
    }
    return new Context(plan_, *this, logger_);
  }

 private:
  std::shared_ptr<const PlanFile> plan_;
  ILogger* logger_;
};

class Runtime final : public IRuntime, public UnusedRuntimeCalls {
 public:
  explicit Runtime(ILogger* logger) : logger_(logger) {
    IRuntime::mImpl = this;
    count_live("runtime", 1);
  }
  ~Runtime() noexcept override { count_live("runtime", -1); }

  IRuntime* getPImpl() noexcept override { return this; }
  ICudaEngine* deserializeCudaEngine(const void* blob, std::size_t size) noexcept override {
    if (must_fail("deserializeCudaEngine")) {
      say(logger_, "deserializeCudaEngine: simulated failure");
      return nullptr;
    }
    if (setting("NO_MEMORY_FOR_WEIGHTS", 0) != 0) {
      say(logger_, "deserializeCudaEngine: simulated: CUDA out of memory");
      return nullptr;
    }
    try {
      return new Engine(std::make_shared<const PlanFile>(std::string(static_cast<const char*>(blob), size)), logger_);
    } catch (const std::exception& e) {
      say(logger_, std::string("deserializeCudaEngine: ") + e.what());
      return nullptr;
    }
  }

  IRuntime* loadRuntime(const char* path) noexcept override {
    if (must_fail("loadRuntime") || !std::ifstream(path)) {
      say(logger_, std::string("loadRuntime: cannot open ") + path);
      return nullptr;
    }
    count_event("lean runtime");
    return new Runtime(logger_);
  }

 private:
  ILogger* logger_;
};

}  // namespace

void unknown_call(const char* call) noexcept { violation(std::string(call) + " is not simulated"); }

}  // namespace simulator

extern "C" SIMULATOR_EXPORT std::int32_t getInferLibVersion() noexcept {
  return static_cast<std::int32_t>(simulator::setting("TENSORRT_VERSION", NV_TENSORRT_VERSION));
}

extern "C" SIMULATOR_EXPORT void* createInferRuntime_INTERNAL(void* logger, std::int32_t version) noexcept {
  if (version > getInferLibVersion()) simulator::violation("the caller's headers are newer than the library");
  if (simulator::must_fail("createInferRuntime")) {
    simulator::say(static_cast<nvinfer1::ILogger*>(logger), "createInferRuntime: simulated failure");
    return nullptr;
  }
  return static_cast<nvinfer1::IRuntime*>(new simulator::Runtime(static_cast<nvinfer1::ILogger*>(logger)));
}

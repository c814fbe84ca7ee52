#include "slot.h"

#include <algorithm>
#include <cstring>

#include "navit_edge/error.h"

namespace navit_edge::tensorrt {
namespace {

/// The caller's tensors in the engine's order, each with the engine's element type. Throws InvalidInput.
std::vector<const navit_edge_tensor*> in_order(const std::vector<TensorInfo>& expected,
                                               std::span<const navit_edge_tensor> given) {
  std::vector<const navit_edge_tensor*> ordered;
  for (const TensorInfo& info : expected) {
    const auto found =
        std::find_if(given.begin(), given.end(), [&](const auto& tensor) { return info.name == tensor.name; });
    if (found == given.end())
      throw InvalidInput("the engine's tensor " + info.name +
                         " was not given; rebuild the engine from this bundle's graph");
    if (found->dtype != static_cast<std::int32_t>(info.dtype)) {
      throw InvalidInput("tensor " + info.name + " has element type " + std::to_string(found->dtype) +
                         "; the engine expects " + std::to_string(static_cast<std::int32_t>(info.dtype)) +
                         "; rebuild the engine from this bundle's graph");
    }
    ordered.push_back(&*found);
  }
  return ordered;
}

}  // namespace

Slot::Slot(const Library& library, const Plan& plan, GraphMode graphs, bool mapped)
    : api_(library.api), plan_(plan), graphs_(graphs), mapped_(mapped), stream_(make_stream(api_)) {
  Logger::Call said(plan.logger());
  for (const Profile& profile : plan.profiles()) arena_bytes_ = std::max(arena_bytes_, profile.arena_bytes);
  if (arena_bytes_ > 0) arena_ = allocate_device(api_, static_cast<std::size_t>(arena_bytes_));
  make_contexts(said);
  make_staging(said);
}

void Slot::make_contexts(Logger::Call& said) {
  for (const Profile& profile : plan_.profiles()) {
    Pass pass;
    pass.context.reset(make_context(plan_.engine()));
    const auto fail = [&](const char* what) {
      throw BackendError(std::string(what) + " for the budget of " + plan_.words(profile) + " failed: " + said.take() +
                         "; free memory of the GPU, or build the engine with fewer --token-budgets");
    };
    if (pass.context == nullptr) fail("making an execution context");
    if (profile.arena_bytes > 0) lend_arena(*pass.context, arena_.get(), profile.arena_bytes);
    if (!pass.context->setOptimizationProfileAsync(profile.index, stream_.get())) fail("choosing the profile");
    if (graphs_ == GraphMode::kOff) {
      pass.state = {GraphStage::kOff, "option cuda_graph"};
    } else if (graphs_ == GraphMode::kAuto && !profile.fixed) {
      // A graph is of one shape: if each pack has its own, capturing costs more than it saves.
      pass.state = {GraphStage::kOff, "the shapes of this budget vary from pack to pack"};
    }
    passes_.push_back(std::move(pass));
  }
  synchronize("binding contexts to their profiles");
}

void Slot::make_staging(Logger::Call& said) {
  inputs_.resize(plan_.inputs().size());
  outputs_.resize(plan_.outputs().size());
  for (std::size_t p = 0; p < passes_.size(); ++p) {
    nvinfer1::IExecutionContext& context = *passes_[p].context;
    const Profile& profile = plan_.profiles()[p];
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      const TensorInfo& info = plan_.inputs()[i];
      inputs_[i].capacity = std::max(inputs_[i].capacity, bytes_of(info, profile.most[i]));
      if (!context.setInputShape(info.name.c_str(), profile.most[i])) {
        throw BackendError("the engine refuses " + info.name + " " + words(profile.most[i]) +
                           ", the largest shape of its own profile: " + said.take());
      }
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      const TensorInfo& info = plan_.outputs()[i];
      outputs_[i].capacity = std::max(outputs_[i].capacity, bytes_of(info, context.getTensorShape(info.name.c_str())));
    }
  }
  for (std::vector<Staging>* side : {&inputs_, &outputs_}) {
    for (Staging& staging : *side) {
      tensor_bytes_ += staging.capacity;
      staging.host = allocate_pinned(api_, staging.capacity, mapped_);
      if (mapped_) {
        check(api_, api_.cudaHostGetDevicePointer(&staging.address, staging.host.get(), 0),
              "mapping host memory to the GPU");
      } else {
        staging.device = allocate_device(api_, staging.capacity);
        staging.address = staging.device.get();
      }
    }
  }
  for (Pass& pass : passes_) {
    const auto bind = [&](const TensorInfo& info, const Staging& staging) {
      if (!pass.context->setTensorAddress(info.name.c_str(), staging.address)) {
        throw BackendError("the engine refuses the memory of " + info.name + ": " + said.take());
      }
    };
    for (std::size_t i = 0; i < inputs_.size(); ++i) bind(plan_.inputs()[i], inputs_[i]);
    for (std::size_t i = 0; i < outputs_.size(); ++i) bind(plan_.outputs()[i], outputs_[i]);
  }
}

void Slot::run(std::span<const navit_edge_tensor> given_inputs, std::span<const navit_edge_tensor> given_outputs) {
  Logger::Call said(plan_.logger());
  const auto inputs = in_order(plan_.inputs(), given_inputs);
  const auto outputs = in_order(plan_.outputs(), given_outputs);
  Pass& pass = passes_[plan_.profile_for(inputs)];
  set_shapes(pass, inputs, said);
  std::vector<std::size_t> output_bytes;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const TensorInfo& info = plan_.outputs()[i];
    const nvinfer1::Dims made = pass.context->getTensorShape(info.name.c_str());
    if (!equal(made, dims_of(*outputs[i]))) {
      throw InvalidInput("output " + info.name + " of the engine is " + words(made) + "; the manifest says " +
                         words(dims_of(*outputs[i])) + "; rebuild the engine from this bundle's graph");
    }
    output_bytes.push_back(bytes_of(info, made));
  }

  // Inputs are refreshed whole before every pass: a CUDA graph replays addresses, not what lay there when it was made.
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::size_t bytes = bytes_of(plan_.inputs()[i], pass.shapes[i]);
    if (inputs[i]->data != inputs_[i].host.get()) std::memcpy(inputs_[i].host.get(), inputs[i]->data, bytes);
    if (mapped_) continue;
    check(api_,
          api_.cudaMemcpyAsync(inputs_[i].address, inputs_[i].host.get(), bytes, cudaMemcpyHostToDevice, stream_.get()),
          "copying " + plan_.inputs()[i].name + " to the GPU");
  }
  const bool replay =
      pass.graph && std::equal(pass.shapes.begin(), pass.shapes.end(), pass.graph_shapes.begin(), equal);
  if (replay) {
    check(api_, api_.cudaGraphLaunch(pass.graph.get(), stream_.get()), "launching the CUDA graph");
  } else {
    enqueue(pass, said);
  }
  for (std::size_t i = 0; !mapped_ && i < outputs.size(); ++i) {
    check(api_,
          api_.cudaMemcpyAsync(outputs_[i].host.get(), outputs_[i].address, output_bytes[i], cudaMemcpyDeviceToHost,
                               stream_.get()),
          "copying " + plan_.outputs()[i].name + " from the GPU");
  }
  synchronize("running the engine");
  for (std::size_t i = 0; i < outputs.size(); ++i)
    std::memcpy(outputs[i]->data, outputs_[i].host.get(), output_bytes[i]);

  // After a pass of the same shapes, as TensorRT asks, and with this pass's results in the caller's hands.
  if (!replay && pass.state.stage != GraphStage::kOff && pass.state.stage != GraphStage::kFallback) capture(pass, said);
}

void* Slot::input_memory(std::string_view name, std::size_t bytes) const noexcept {
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (plan_.inputs()[i].name == name) return bytes <= inputs_[i].capacity ? inputs_[i].host.get() : nullptr;
  }
  return nullptr;
}

Slot::GraphState Slot::graph_state(std::size_t profile) const {
  const std::lock_guard lock(states_mutex_);
  return passes_.at(profile).state;
}

void Slot::set_state(Pass& pass, GraphStage stage, std::string reason) {
  const std::lock_guard lock(states_mutex_);
  pass.state = {stage, std::move(reason)};
}

void Slot::set_shapes(Pass& pass, std::span<const navit_edge_tensor* const> inputs, Logger::Call& said) {
  std::vector<nvinfer1::Dims> shapes;
  for (const navit_edge_tensor* tensor : inputs) shapes.push_back(dims_of(*tensor));
  if (pass.shapes.size() == shapes.size() && std::equal(shapes.begin(), shapes.end(), pass.shapes.begin(), equal))
    return;
  pass.shapes.clear();  // unknown until all are set
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const TensorInfo& info = plan_.inputs()[i];
    if (!pass.context->setInputShape(info.name.c_str(), shapes[i])) {
      throw BackendError("the engine refuses " + info.name + " " + words(shapes[i]) + ": " + said.take());
    }
  }
  pass.shapes = std::move(shapes);
}

void Slot::enqueue(Pass& pass, Logger::Call& said) {
  said.clear();
  if (pass.context->enqueueV3(stream_.get())) return;
  const std::string reason = said.take();
  // What was enqueued before ends first: nothing of it may run into the next pack. Throws if CUDA itself failed.
  synchronize("enqueueing the engine");
  throw BackendError("TensorRT refuses to enqueue the engine: " + reason);
}

void Slot::capture(Pass& pass, Logger::Call& said) {
  const auto give_up = [&](const std::string& reason) {
    static_cast<void>(api_.cudaGetLastError());  // a capture that failed leaves its error behind
    synchronize("giving up a CUDA graph");
    set_state(pass, graphs_ == GraphMode::kOn ? GraphStage::kFailed : GraphStage::kFallback, reason);
    if (graphs_ == GraphMode::kOn) {
      throw BackendError("no CUDA graph: " + reason + "; option cuda_graph=auto runs without one");
    }
  };
  const auto failed = [&](cudaError_t status, const char* what) {
    if (status == cudaSuccess) return false;
    give_up(std::string(what) + " failed: " + api_.cudaGetErrorName(status) + " (" + api_.cudaGetErrorString(status) +
            ")");
    return true;
  };

  said.clear();
  // Thread-local: what other threads of the process do meanwhile, as allocating, is their own affair.
  if (failed(api_.cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "beginning the capture"))
    return;
  const bool enqueued = pass.context->enqueueV3(stream_.get());
  cudaGraph_t captured = nullptr;
  const cudaError_t ended = api_.cudaStreamEndCapture(stream_.get(), &captured);
  const Graph graph(captured, api_.cudaGraphDestroy);
  if (!enqueued) return give_up("TensorRT refuses the capture: " + said.take());
  if (failed(ended, "ending the capture")) return;
  cudaGraphExec_t executable = nullptr;
  if (failed(api_.cudaGraphInstantiateWithFlags(&executable, graph.get(), 0), "instantiating the CUDA graph")) return;
  pass.graph = ExecutableGraph(executable, api_.cudaGraphExecDestroy);
  pass.graph_shapes = pass.shapes;
  set_state(pass, GraphStage::kCaptured);
}

void Slot::synchronize(const char* what) { check(api_, api_.cudaStreamSynchronize(stream_.get()), what); }

}  // namespace navit_edge::tensorrt

// Functions of TensorRT's interfaces that our backend does not call. A call is a broken rule: the stand-in would have
// to learn it first. Shared by the stand-ins here and in tests/gpu.
#pragma once

#include "NvInferRuntime.h"

namespace simulator {

using namespace nvinfer1;

/// Writes down that a function was called that the stand-in does not have; each stand-in defines it.
void unknown_call(const char* call) noexcept;

/// The answer to such a call.
template <class Answer>
Answer unused(const char* call) noexcept {
  unknown_call(call);
  return Answer();
}

class UnusedRuntimeCalls : public nvinfer1::apiv::VRuntime {
 public:
  nvinfer1::ICudaEngine* deserializeCudaEngine(IStreamReader&) noexcept override {
    return unused<nvinfer1::ICudaEngine*>("deserializeCudaEngine");
  }
  void setDLACore(int32_t) noexcept override { unused<int>("setDLACore"); }
  int32_t getDLACore() const noexcept override { return unused<int32_t>("getDLACore"); }
  int32_t getNbDLACores() const noexcept override { return unused<int32_t>("getNbDLACores"); }
  void setGpuAllocator(IGpuAllocator*) noexcept override { unused<int>("setGpuAllocator"); }
  void setErrorRecorder(IErrorRecorder*) noexcept override { unused<int>("setErrorRecorder"); }
  IErrorRecorder* getErrorRecorder() const noexcept override { return unused<IErrorRecorder*>("getErrorRecorder"); }
  ILogger* getLogger() const noexcept override { return unused<ILogger*>("getLogger"); }
  bool setMaxThreads(int32_t) noexcept override { return unused<bool>("setMaxThreads"); }
  int32_t getMaxThreads() const noexcept override { return unused<int32_t>("getMaxThreads"); }
  void setTemporaryDirectory(char const*) noexcept override { unused<int>("setTemporaryDirectory"); }
  char const* getTemporaryDirectory() const noexcept override { return unused<char const*>("getTemporaryDirectory"); }
  void setTempfileControlFlags(TempfileControlFlags) noexcept override { unused<int>("setTempfileControlFlags"); }
  TempfileControlFlags getTempfileControlFlags() const noexcept override {
    return unused<TempfileControlFlags>("getTempfileControlFlags");
  }
  IPluginRegistry& getPluginRegistry() noexcept override { return *unused<IPluginRegistry*>("getPluginRegistry"); }
  void setPluginRegistryParent(IPluginRegistry*) noexcept override { unused<int>("setPluginRegistryParent"); }
  void setEngineHostCodeAllowed(bool) noexcept override { unused<int>("setEngineHostCodeAllowed"); }
  bool getEngineHostCodeAllowed() const noexcept override { return unused<bool>("getEngineHostCodeAllowed"); }
  nvinfer1::ICudaEngine* deserializeCudaEngineV2(IStreamReaderV2&) noexcept override {
    return unused<nvinfer1::ICudaEngine*>("deserializeCudaEngineV2");
  }
};

class UnusedEngineCalls : public nvinfer1::apiv::VCudaEngine {
 public:
  int32_t getNbLayers() const noexcept override { return unused<int32_t>("getNbLayers"); }
  IHostMemory* serialize() const noexcept override { return unused<IHostMemory*>("serialize"); }
  IExecutionContext* createExecutionContextWithoutDeviceMemory() noexcept override {
    return unused<IExecutionContext*>("createExecutionContextWithoutDeviceMemory");
  }
  size_t getDeviceMemorySize() const noexcept override { return unused<size_t>("getDeviceMemorySize"); }
  bool isRefittable() const noexcept override { return unused<bool>("isRefittable"); }
  char const* getName() const noexcept override { return unused<char const*>("getName"); }
  int32_t const* getProfileTensorValues(char const*, int32_t, OptProfileSelector) const noexcept override {
    return unused<int32_t const*>("getProfileTensorValues");
  }
  EngineCapability getEngineCapability() const noexcept override {
    return unused<EngineCapability>("getEngineCapability");
  }
  void setErrorRecorder(IErrorRecorder*) noexcept override { unused<int>("setErrorRecorder"); }
  IErrorRecorder* getErrorRecorder() const noexcept override { return unused<IErrorRecorder*>("getErrorRecorder"); }
  bool hasImplicitBatchDimension() const noexcept override { return unused<bool>("hasImplicitBatchDimension"); }
  TacticSources getTacticSources() const noexcept override { return unused<TacticSources>("getTacticSources"); }
  ProfilingVerbosity getProfilingVerbosity() const noexcept override {
    return unused<ProfilingVerbosity>("getProfilingVerbosity");
  }
  IEngineInspector* createEngineInspector() const noexcept override {
    return unused<IEngineInspector*>("createEngineInspector");
  }
  Dims getTensorShape(char const*) const noexcept override { return unused<Dims>("getTensorShape"); }
  bool isShapeInferenceIO(char const*) const noexcept override { return unused<bool>("isShapeInferenceIO"); }
  int32_t getTensorBytesPerComponent(char const*) const noexcept override {
    return unused<int32_t>("getTensorBytesPerComponent");
  }
  int32_t getTensorComponentsPerElement(char const*) const noexcept override {
    return unused<int32_t>("getTensorComponentsPerElement");
  }
  char const* getTensorFormatDesc(char const*) const noexcept override {
    return unused<char const*>("getTensorFormatDesc");
  }
  int32_t getTensorVectorizedDim(char const*) const noexcept override {
    return unused<int32_t>("getTensorVectorizedDim");
  }
  HardwareCompatibilityLevel getHardwareCompatibilityLevel() const noexcept override {
    return unused<HardwareCompatibilityLevel>("getHardwareCompatibilityLevel");
  }
  int32_t getNbAuxStreams() const noexcept override { return unused<int32_t>("getNbAuxStreams"); }
  int32_t getTensorBytesPerComponentV2(char const*, int32_t) const noexcept override {
    return unused<int32_t>("getTensorBytesPerComponentV2");
  }
  int32_t getTensorComponentsPerElementV2(char const*, int32_t) const noexcept override {
    return unused<int32_t>("getTensorComponentsPerElementV2");
  }
  TensorFormat getTensorFormatV2(char const*, int32_t) const noexcept override {
    return unused<TensorFormat>("getTensorFormatV2");
  }
  char const* getTensorFormatDescV2(char const*, int32_t) const noexcept override {
    return unused<char const*>("getTensorFormatDescV2");
  }
  int32_t getTensorVectorizedDimV2(char const*, int32_t) const noexcept override {
    return unused<int32_t>("getTensorVectorizedDimV2");
  }
  ISerializationConfig* createSerializationConfig() noexcept override {
    return unused<ISerializationConfig*>("createSerializationConfig");
  }
  IHostMemory* serializeWithConfig(ISerializationConfig&) const noexcept override {
    return unused<IHostMemory*>("serializeWithConfig");
  }
  size_t getDeviceMemorySizeForProfile(int32_t) const noexcept override {
    return unused<size_t>("getDeviceMemorySizeForProfile");
  }
  IRefitter* createRefitter(ILogger&) noexcept override { return unused<IRefitter*>("createRefitter"); }
  bool setWeightStreamingBudget(int64_t) noexcept override { return unused<bool>("setWeightStreamingBudget"); }
  int64_t getWeightStreamingBudget() const noexcept override { return unused<int64_t>("getWeightStreamingBudget"); }
  int64_t getMinimumWeightStreamingBudget() const noexcept override {
    return unused<int64_t>("getMinimumWeightStreamingBudget");
  }
  int64_t getStreamableWeightsSize() const noexcept override { return unused<int64_t>("getStreamableWeightsSize"); }
  bool isDebugTensor(char const*) const noexcept override { return unused<bool>("isDebugTensor"); }
  bool setWeightStreamingBudgetV2(int64_t) noexcept override { return unused<bool>("setWeightStreamingBudgetV2"); }
  int64_t getWeightStreamingBudgetV2() const noexcept override { return unused<int64_t>("getWeightStreamingBudgetV2"); }
  int64_t getWeightStreamingAutomaticBudget() const noexcept override {
    return unused<int64_t>("getWeightStreamingAutomaticBudget");
  }
  int64_t getWeightStreamingScratchMemorySize() const noexcept override {
    return unused<int64_t>("getWeightStreamingScratchMemorySize");
  }
  int64_t getDeviceMemorySizeV2() const noexcept override { return unused<int64_t>("getDeviceMemorySizeV2"); }
  int64_t const* getProfileTensorValuesV2(char const*, int32_t, OptProfileSelector) const noexcept override {
    return unused<int64_t const*>("getProfileTensorValuesV2");
  }
  IExecutionContext* createExecutionContextWithRuntimeConfig(IRuntimeConfig*) noexcept override {
    return unused<IExecutionContext*>("createExecutionContextWithRuntimeConfig");
  }
  IRuntimeConfig* createRuntimeConfig() noexcept override { return unused<IRuntimeConfig*>("createRuntimeConfig"); }
  int64_t getEngineStat(EngineStat) const noexcept override { return unused<int64_t>("getEngineStat"); }
};

class UnusedContextCalls : public nvinfer1::apiv::VExecutionContext {
 public:
  void setDebugSync(bool) noexcept override { unused<int>("setDebugSync"); }
  bool getDebugSync() const noexcept override { return unused<bool>("getDebugSync"); }
  void setProfiler(IProfiler*) noexcept override { unused<int>("setProfiler"); }
  IProfiler* getProfiler() const noexcept override { return unused<IProfiler*>("getProfiler"); }
  void setName(char const*) noexcept override { unused<int>("setName"); }
  char const* getName() const noexcept override { return unused<char const*>("getName"); }
  void setDeviceMemory(void*) noexcept override { unused<int>("setDeviceMemory"); }
  bool allInputDimensionsSpecified() const noexcept override { return unused<bool>("allInputDimensionsSpecified"); }
  bool allInputShapesSpecified() const noexcept override { return unused<bool>("allInputShapesSpecified"); }
  void setErrorRecorder(IErrorRecorder*) noexcept override { unused<int>("setErrorRecorder"); }
  IErrorRecorder* getErrorRecorder() const noexcept override { return unused<IErrorRecorder*>("getErrorRecorder"); }
  bool executeV2(void* const*) noexcept override { return unused<bool>("executeV2"); }
  void setEnqueueEmitsProfile(bool) noexcept override { unused<int>("setEnqueueEmitsProfile"); }
  bool getEnqueueEmitsProfile() const noexcept override { return unused<bool>("getEnqueueEmitsProfile"); }
  bool reportToProfiler() const noexcept override { return unused<bool>("reportToProfiler"); }
  Dims getTensorStrides(char const*) const noexcept override { return unused<Dims>("getTensorStrides"); }
  void const* getTensorAddress(char const*) const noexcept override { return unused<void const*>("getTensorAddress"); }
  bool setInputTensorAddress(char const*, void const*) noexcept override {
    return unused<bool>("setInputTensorAddress");
  }
  bool setOutputTensorAddress(char const*, void*) noexcept override { return unused<bool>("setOutputTensorAddress"); }
  int32_t inferShapes(int32_t, char const**) noexcept override { return unused<int32_t>("inferShapes"); }
  bool setInputConsumedEvent(cudaEvent_t) noexcept override { return unused<bool>("setInputConsumedEvent"); }
  cudaEvent_t getInputConsumedEvent() const noexcept override { return unused<cudaEvent_t>("getInputConsumedEvent"); }
  void* getOutputTensorAddress(char const*) const noexcept override { return unused<void*>("getOutputTensorAddress"); }
  bool setOutputAllocator(char const*, IOutputAllocator*) noexcept override {
    return unused<bool>("setOutputAllocator");
  }
  IOutputAllocator* getOutputAllocator(char const*) noexcept override {
    return unused<IOutputAllocator*>("getOutputAllocator");
  }
  int64_t getMaxOutputSize(char const*) const noexcept override { return unused<int64_t>("getMaxOutputSize"); }
  bool setTemporaryStorageAllocator(IGpuAllocator*) noexcept override {
    return unused<bool>("setTemporaryStorageAllocator");
  }
  IGpuAllocator* getTemporaryStorageAllocator() const noexcept override {
    return unused<IGpuAllocator*>("getTemporaryStorageAllocator");
  }
  void setPersistentCacheLimit(size_t) noexcept override { unused<int>("setPersistentCacheLimit"); }
  size_t getPersistentCacheLimit() const noexcept override { return unused<size_t>("getPersistentCacheLimit"); }
  bool setNvtxVerbosity(ProfilingVerbosity) noexcept override { return unused<bool>("setNvtxVerbosity"); }
  ProfilingVerbosity getNvtxVerbosity() const noexcept override {
    return unused<ProfilingVerbosity>("getNvtxVerbosity");
  }
  void setAuxStreams(cudaStream_t*, int32_t) noexcept override { unused<int>("setAuxStreams"); }
  bool setDebugListener(IDebugListener*) noexcept override { return unused<bool>("setDebugListener"); }
  IDebugListener* getDebugListener() noexcept override { return unused<IDebugListener*>("getDebugListener"); }
  bool setTensorDebugState(char const*, bool) noexcept override { return unused<bool>("setTensorDebugState"); }
  bool getDebugState(char const*) const noexcept override { return unused<bool>("getDebugState"); }
  bool setAllTensorsDebugState(bool) noexcept override { return unused<bool>("setAllTensorsDebugState"); }
  size_t updateDeviceMemorySizeForShapes() noexcept override {
    return unused<size_t>("updateDeviceMemorySizeForShapes");
  }
  IRuntimeConfig* getRuntimeConfig() const noexcept override { return unused<IRuntimeConfig*>("getRuntimeConfig"); }
  bool setUnfusedTensorsDebugState(bool) noexcept override { return unused<bool>("setUnfusedTensorsDebugState"); }
  bool getUnfusedTensorsDebugState() const noexcept override { return unused<bool>("getUnfusedTensorsDebugState"); }
};

}  // namespace simulator

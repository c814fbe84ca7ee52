// The calls of the CUDA driver that the stand-in makes: NVIDIA's own libcuda.so.1, or the simulated one of the tests.
#pragma once

#include <cuda.h>

#include <cstddef>
#include <string>

namespace stand_in {

/// Handles of the CUDA runtime are the driver's, so what our backend makes with the runtime is used here as it is.
struct Driver {
  CUresult (*cuMemcpyAsync)(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream stream) = nullptr;
  CUresult (*cuMemsetD8Async)(CUdeviceptr to, unsigned char value, std::size_t bytes, CUstream stream) = nullptr;
  CUresult (*cuStreamSynchronize)(CUstream stream) = nullptr;
  CUresult (*cuStreamGetCaptureInfo_v2)(CUstream stream, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph,
                                        const CUgraphNode** dependencies, std::size_t* count) = nullptr;
  CUresult (*cuStreamUpdateCaptureDependencies)(CUstream stream, CUgraphNode* dependencies, std::size_t count,
                                                unsigned int flags) = nullptr;
  CUresult (*cuGraphAddChildGraphNode)(CUgraphNode* node, CUgraph graph, const CUgraphNode* dependencies,
                                       std::size_t count, CUgraph child) = nullptr;
  CUresult (*cuGraphInstantiateWithFlags)(CUgraphExec* executable, CUgraph graph, unsigned long long flags) = nullptr;
  CUresult (*cuGraphLaunch)(CUgraphExec executable, CUstream stream) = nullptr;
  CUresult (*cuGraphExecDestroy)(CUgraphExec executable) = nullptr;

  /// Opened at the first call and never closed. Throws std::runtime_error if it does not open.
  static const Driver& get();
};

/// "CUDA error 700 at copying an input"; "" if `status` is success.
std::string failure(CUresult status, const std::string& at);

}  // namespace stand_in

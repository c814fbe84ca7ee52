#include "driver.h"

#include <dlfcn.h>

#include <cstring>
#include <stdexcept>

namespace stand_in {
namespace {

Driver open() {
  void* library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(::dlerror());
  Driver driver;
  const auto find = [library](const char* name, auto& function) {
    void* symbol = ::dlsym(library, name);
    if (symbol == nullptr) throw std::runtime_error(std::string("libcuda.so.1 has no function ") + name);
    static_assert(sizeof(function) == sizeof(symbol));
    std::memcpy(&function, &symbol, sizeof(symbol));
  };
  find("cuMemcpyAsync", driver.cuMemcpyAsync);
  find("cuMemsetD8Async", driver.cuMemsetD8Async);
  find("cuStreamSynchronize", driver.cuStreamSynchronize);
  find("cuStreamGetCaptureInfo_v2", driver.cuStreamGetCaptureInfo_v2);
  find("cuStreamUpdateCaptureDependencies", driver.cuStreamUpdateCaptureDependencies);
  find("cuGraphAddChildGraphNode", driver.cuGraphAddChildGraphNode);
  find("cuGraphInstantiateWithFlags", driver.cuGraphInstantiateWithFlags);
  find("cuGraphLaunch", driver.cuGraphLaunch);
  find("cuGraphExecDestroy", driver.cuGraphExecDestroy);
  return driver;
}

}  // namespace

const Driver& Driver::get() {
  static const Driver driver = open();
  return driver;
}

std::string failure(CUresult status, const std::string& at) {
  return status == CUDA_SUCCESS ? "" : "CUDA error " + std::to_string(static_cast<int>(status)) + " at " + at;
}

}  // namespace stand_in

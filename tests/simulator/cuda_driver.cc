// A stand-in for libcuda.so.1: the three calls that our backend makes. Not NVIDIA's.
#include <cstdio>

#include "device.h"

extern "C" SIMULATOR_EXPORT int cuInit(unsigned int) {
  if (simulator::must_fail("cuInit")) return 999;
  return simulator::setting("DEVICES", 1) > 0 ? 0 : 100;
}

extern "C" SIMULATOR_EXPORT int cuDriverGetVersion(int* version) {
  if (simulator::must_fail("cuDriverGetVersion")) return 1;
  *version = 12080;
  return 0;
}

extern "C" SIMULATOR_EXPORT int cuDeviceGetName(char* name, int length, int) {
  if (simulator::must_fail("cuDeviceGetName")) return 1;
  std::snprintf(name, static_cast<std::size_t>(length), "simulated GPU, no NVIDIA hardware");
  return 0;
}

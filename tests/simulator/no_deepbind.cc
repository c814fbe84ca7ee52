// Preloaded under sanitizers only: OpenVINO opens a library with RTLD_DEEPBIND, which a sanitizer's runtime refuses.
#include <dlfcn.h>

#include <cstring>

extern "C" __attribute__((visibility("default"))) void* dlopen(const char* file, int flags) noexcept {
  using Open = void* (*)(const char*, int);
  void* symbol = dlsym(RTLD_NEXT, "dlopen");
  Open next = nullptr;
  std::memcpy(&next, &symbol, sizeof(next));
  return next(file, flags & ~RTLD_DEEPBIND);
}

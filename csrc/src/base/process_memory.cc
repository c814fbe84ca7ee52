#include "base/process_memory.h"

#include <unistd.h>

#include <cstdio>
#include <memory>

namespace navit_edge {

std::size_t resident_bytes() noexcept {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen("/proc/self/statm", "re"), &std::fclose);
  unsigned long size = 0;
  unsigned long resident = 0;
  if (file == nullptr || std::fscanf(file.get(), "%lu %lu", &size, &resident) != 2) return 0;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace navit_edge

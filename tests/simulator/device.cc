#include "device.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <sstream>
#include <vector>

namespace simulator {
namespace {

struct Allocation {
  std::size_t bytes = 0;
  void* kept = nullptr;    // where the bytes are
  void* device = nullptr;  // of page-locked memory: its device address, where it is mapped
};

struct State {
  std::mutex mutex;
  long calls = 0;
  long fail_at = setting("FAIL_AT", 0);
  std::string failed_call;
  std::vector<std::string> violations;
  std::map<std::string, long> live;
  std::map<std::string, long> events;
  std::map<const char*, Allocation> device;  // by address
  std::map<const char*, Allocation> pinned;
  std::size_t used = 0;
  cudaError_t sticky = cudaSuccess;
  long generation = 0;  // grows with every reset
};

State& state() {
  static auto* instance = new State;  // leaked: engines may be closed after static destructors
  return *instance;
}

const Allocation* find(const std::map<const char*, Allocation>& allocations, const void* address, std::size_t bytes,
                       std::size_t& offset) {
  const auto* wanted = static_cast<const char*>(address);
  auto found = allocations.upper_bound(wanted);
  if (found == allocations.begin()) return nullptr;
  --found;
  offset = static_cast<std::size_t>(wanted - found->first);
  return offset + bytes <= found->second.bytes ? &found->second : nullptr;
}

/// Addresses that fault when the host touches them.
void* reserve(std::size_t bytes) {
  void* address = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return address == MAP_FAILED ? nullptr : address;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "\"";
}

}  // namespace

long setting(const char* name, long otherwise) {
  const char* value = std::getenv(("NAVIT_EDGE_SIM_" + std::string(name)).c_str());
  return value != nullptr && *value != '\0' ? std::atol(value) : otherwise;
}

bool must_fail(const char* call) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (++s.calls != s.fail_at) return false;
  s.failed_call = call;
  return true;
}

void violation(const std::string& rule) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.violations.push_back(rule);
}

void count_live(const char* kind, int change) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  s.live[kind] += change;
}

void count_event(const char* kind) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  ++s.events[kind];
}

void set_sticky(cudaError_t status) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.sticky == cudaSuccess) s.sticky = status;
}

cudaError_t sticky() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  return s.sticky;
}

cudaError_t refused(const char* call) {
  State& s = state();
  thread_local long told = -1;
  const cudaError_t status = sticky();
  if (status == cudaSuccess) return status;
  if (told == s.generation) violation(std::string(call) + " was called after an error that ends all work");
  told = s.generation;
  return status;
}

void* bytes_at(const void* address, std::size_t bytes) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  std::size_t offset = 0;
  const Allocation* found = find(s.device, address, bytes, offset);
  return found != nullptr ? static_cast<char*>(found->kept) + offset : nullptr;
}

bool is_pinned(const void* address, std::size_t bytes) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  std::size_t offset = 0;
  return find(s.pinned, address, bytes, offset) != nullptr;
}

std::size_t all_bytes() { return static_cast<std::size_t>(setting("MEMORY_MIB", 8192)) << 20; }

std::size_t free_bytes() {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  return all_bytes() - s.used;
}

void* allocate_device(std::size_t bytes) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  if (s.used + bytes > all_bytes()) return nullptr;
  void* address = reserve(bytes);
  void* kept = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  s.device[static_cast<const char*>(address)] = {bytes, kept, nullptr};
  s.used += bytes;
  ++s.live["device memory"];
  return address;
}

void* allocate_pinned(std::size_t bytes, bool mapped) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  void* kept = std::calloc(1, bytes);
  void* device = mapped ? reserve(bytes) : nullptr;
  if (mapped) s.device[static_cast<const char*>(device)] = {bytes, kept, nullptr};
  s.pinned[static_cast<const char*>(kept)] = {bytes, kept, device};
  ++s.live["page-locked memory"];
  return kept;
}

void* device_address_of(const void* pinned) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const auto found = s.pinned.find(static_cast<const char*>(pinned));
  return found != s.pinned.end() ? found->second.device : nullptr;
}

bool release_device(const void* address) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const auto found = s.device.find(static_cast<const char*>(address));
  if (found == s.device.end()) return false;
  ::munmap(found->second.kept, found->second.bytes);
  ::munmap(const_cast<void*>(address), found->second.bytes);
  s.used -= found->second.bytes;
  s.device.erase(found);
  --s.live["device memory"];
  return true;
}

bool release_pinned(const void* address) {
  State& s = state();
  const std::lock_guard lock(s.mutex);
  const auto found = s.pinned.find(static_cast<const char*>(address));
  if (found == s.pinned.end()) return false;
  if (found->second.device != nullptr) {
    s.device.erase(static_cast<const char*>(found->second.device));
    ::munmap(found->second.device, found->second.bytes);
  }
  std::free(found->second.kept);
  s.pinned.erase(found);
  --s.live["page-locked memory"];
  return true;
}

}  // namespace simulator

/// For tests: starts afresh, as a new process would, and lets call number `fail_at` fail (0: none).
extern "C" SIMULATOR_EXPORT void navit_edge_sim_reset(long fail_at) {
  auto& s = simulator::state();
  const std::lock_guard lock(s.mutex);
  s.calls = 0;
  s.fail_at = fail_at;
  s.failed_call.clear();
  s.violations.clear();
  s.events.clear();
  s.sticky = cudaSuccess;
  ++s.generation;
}

/// For tests: what happened since the last reset, as JSON.
extern "C" SIMULATOR_EXPORT int navit_edge_sim_report(char* out, std::size_t size) {
  auto& s = simulator::state();
  const std::lock_guard lock(s.mutex);
  std::ostringstream text;
  text << "{\"calls\": " << s.calls << ", \"failed_call\": " << simulator::quoted(s.failed_call)
       << ", \"violations\": [";
  for (std::size_t i = 0; i < s.violations.size(); ++i) {
    text << (i > 0 ? ", " : "") << simulator::quoted(s.violations[i]);
  }
  text << "]";
  for (const auto& [name, counts] : {std::pair{"live", &s.live}, std::pair{"events", &s.events}}) {
    text << ", \"" << name << "\": {";
    const char* comma = "";
    for (const auto& [kind, count] : *counts) {
      if (count == 0) continue;
      text << comma << simulator::quoted(kind) << ": " << count;
      comma = ", ";
    }
    text << "}";
  }
  text << "}";
  return std::snprintf(out, size, "%s", text.str().c_str());
}

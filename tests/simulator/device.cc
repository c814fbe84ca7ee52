#include "device.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <sstream>
#include <vector>

namespace simulator {
namespace {

constexpr std::size_t kPage = 4096;

struct Allocation {
  Allocation(std::size_t size, void* bytes_kept, void* mapped_to) : bytes(size), kept(bytes_kept), device(mapped_to) {}
  std::size_t bytes;
  void* kept;                               // where the bytes are
  void* device;                             // of page-locked memory: its device address, where it is mapped
  std::atomic<cudaStream_t> user{nullptr};  // whose pass works in it
};
using Allocations = std::map<const char*, Allocation>;  // by address

/// Counts of one kind of thing each, without an order between threads.
class Counters {
 public:
  explicit Counters(std::initializer_list<const char*> kinds) {
    for (const char* kind : kinds) counts_.emplace(kind, 0);
  }
  void add(const char* kind, long change) { counts_.at(kind).fetch_add(change, std::memory_order_relaxed); }
  void clear() {
    for (auto& [kind, count] : counts_) count = 0;
  }
  [[nodiscard]] const std::map<std::string, std::atomic<long>, std::less<>>& counts() const { return counts_; }

 private:
  std::map<std::string, std::atomic<long>, std::less<>> counts_;  // its keys never change
};

/// Nothing here orders the work of two streams: what every call touches is atomic and relaxed, what is looked up is
/// under a lock that readers share. So the thread sanitizer sees a race of the host's between two slots as it is.
struct State {
  std::atomic<long> calls{0};
  std::atomic<long> fail_at{setting("FAIL_AT", 0)};
  std::string counted;  // count only calls of this name; empty: every call
  std::atomic<const char*> failed_call{nullptr};
  std::atomic<int> sticky{cudaSuccess};
  std::atomic<long> generation{0};  // grows with every reset
  Counters live{"device memory", "page-locked memory", "stream", "graph", "executable graph", "runtime",
                "engine",        "execution context"};
  Counters events{"enqueue",     "capture", "child graph", "replay", "copy to the device", "copy from the device",
                  "lean runtime"};

  std::mutex violations_mutex;  // taken where a rule is broken only
  std::vector<std::string> violations;

  std::shared_mutex memory_mutex;  // shared where addresses are looked up, exclusive in the allocation functions
  Allocations device;
  Allocations pinned;
  std::size_t used = 0;
};

State& state() {
  static auto* instance = new State;  // leaked: engines may be closed after static destructors
  return *instance;
}

/// Under memory_mutex.
Allocation* find(Allocations& allocations, const void* address, std::size_t bytes, std::size_t& offset) {
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
  if (!s.counted.empty() && s.counted != call) return false;
  const long number = s.calls.fetch_add(1, std::memory_order_relaxed) + 1;
  if (number != s.fail_at.load(std::memory_order_relaxed)) return false;
  s.failed_call.store(call, std::memory_order_relaxed);
  return true;
}

void violation(const std::string& rule) {
  State& s = state();
  const std::lock_guard lock(s.violations_mutex);
  s.violations.push_back(rule);
}

void count_live(const char* kind, int change) { state().live.add(kind, change); }

void count_event(const char* kind) { state().events.add(kind, 1); }

void set_sticky(cudaError_t status) {
  int none = cudaSuccess;
  state().sticky.compare_exchange_strong(none, status, std::memory_order_relaxed);
}

cudaError_t sticky() { return static_cast<cudaError_t>(state().sticky.load(std::memory_order_relaxed)); }

cudaError_t refused(const char* call) {
  thread_local long told = -1;
  const cudaError_t status = sticky();
  if (status == cudaSuccess) return status;
  const long generation = state().generation.load(std::memory_order_relaxed);
  if (told == generation) violation(std::string(call) + " was called after an error that ends all work");
  told = generation;
  return status;
}

void* bytes_at(const void* address, std::size_t bytes) {
  State& s = state();
  const std::shared_lock lock(s.memory_mutex);
  std::size_t offset = 0;
  const Allocation* found = find(s.device, address, bytes, offset);
  return found != nullptr ? static_cast<char*>(found->kept) + offset : nullptr;
}

bool is_pinned(const void* address, std::size_t bytes) {
  State& s = state();
  const std::shared_lock lock(s.memory_mutex);
  std::size_t offset = 0;
  return find(s.pinned, address, bytes, offset) != nullptr;
}

bool take_arena(const void* arena, cudaStream_t stream) {
  State& s = state();
  const std::shared_lock lock(s.memory_mutex);
  std::size_t offset = 0;
  Allocation* found = find(s.device, arena, 1, offset);
  if (found == nullptr) return true;
  cudaStream_t none = nullptr;
  return found->user.compare_exchange_strong(none, stream, std::memory_order_relaxed) || none == stream;
}

void leave_arena(const void* arena) {
  State& s = state();
  const std::shared_lock lock(s.memory_mutex);
  std::size_t offset = 0;
  Allocation* found = find(s.device, arena, 1, offset);
  if (found != nullptr) found->user.store(nullptr, std::memory_order_relaxed);
}

std::size_t all_bytes() { return static_cast<std::size_t>(setting("MEMORY_MIB", 8192)) << 20; }

std::size_t free_bytes() {
  State& s = state();
  const std::shared_lock lock(s.memory_mutex);
  return all_bytes() - s.used;
}

void* allocate_device(std::size_t bytes) {
  State& s = state();
  const std::lock_guard lock(s.memory_mutex);
  if (s.used + bytes > all_bytes()) return nullptr;
  void* address = reserve(bytes);
  void* kept = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  s.device.try_emplace(static_cast<const char*>(address), bytes, kept, nullptr);
  s.used += bytes;
  s.live.add("device memory", 1);
  return address;
}

void* allocate_pinned(std::size_t bytes, bool mapped) {
  State& s = state();
  // Whole pages, as page-locked memory has them, which a test can write-protect; to the byte where the address
  // sanitizer watches the end.
#if defined(__SANITIZE_ADDRESS__)
  const std::size_t room = bytes;
#else
  const std::size_t room = (bytes + kPage - 1) / kPage * kPage;
#endif
  void* kept = nullptr;
  if (::posix_memalign(&kept, kPage, room) != 0) return nullptr;
  std::memset(kept, 0, room);
  void* device = mapped ? reserve(bytes) : nullptr;
  const std::lock_guard lock(s.memory_mutex);
  if (mapped) s.device.try_emplace(static_cast<const char*>(device), bytes, kept, nullptr);
  s.pinned.try_emplace(static_cast<const char*>(kept), bytes, kept, device);
  s.live.add("page-locked memory", 1);
  return kept;
}

void* device_address_of(const void* pinned) {
  State& s = state();
  const std::shared_lock lock(s.memory_mutex);
  const auto found = s.pinned.find(static_cast<const char*>(pinned));
  return found != s.pinned.end() ? found->second.device : nullptr;
}

bool release_device(const void* address) {
  State& s = state();
  const std::lock_guard lock(s.memory_mutex);
  const auto found = s.device.find(static_cast<const char*>(address));
  if (found == s.device.end()) return false;
  ::munmap(found->second.kept, found->second.bytes);
  ::munmap(const_cast<void*>(address), found->second.bytes);
  s.used -= found->second.bytes;
  s.device.erase(found);
  s.live.add("device memory", -1);
  return true;
}

bool release_pinned(const void* address) {
  State& s = state();
  const std::lock_guard lock(s.memory_mutex);
  const auto found = s.pinned.find(static_cast<const char*>(address));
  if (found == s.pinned.end()) return false;
  if (found->second.device != nullptr) {
    s.device.erase(static_cast<const char*>(found->second.device));
    ::munmap(found->second.device, found->second.bytes);
  }
  std::free(found->second.kept);
  s.pinned.erase(found);
  s.live.add("page-locked memory", -1);
  return true;
}

}  // namespace simulator

/// For tests: starts afresh, as a new process would, and lets call number `fail_at` fail (0: none). Not beside runs.
extern "C" SIMULATOR_EXPORT void navit_edge_sim_reset(long fail_at) {
  auto& s = simulator::state();
  const std::lock_guard lock(s.violations_mutex);
  s.calls = 0;
  s.fail_at = fail_at;
  s.counted.clear();
  s.failed_call = nullptr;
  s.violations.clear();
  s.events.clear();
  s.sticky = cudaSuccess;
  ++s.generation;
}

/// For tests: lets the next call named `call` fail, of any thread. Not beside runs.
extern "C" SIMULATOR_EXPORT void navit_edge_sim_fail_next(const char* call) {
  auto& s = simulator::state();
  s.counted = call;
  s.calls = 0;
  s.fail_at = 1;
}

/// For tests: lets page-locked memory be read only, or read and written again, so that a write to it ends the process.
extern "C" SIMULATOR_EXPORT int navit_edge_sim_protect(void* pinned, std::size_t bytes, int read_only) {
  return ::mprotect(pinned, bytes, read_only != 0 ? PROT_READ : PROT_READ | PROT_WRITE);
}

/// For tests: what happened since the last reset, as JSON. Not beside runs.
extern "C" SIMULATOR_EXPORT int navit_edge_sim_report(char* out, std::size_t size) {
  auto& s = simulator::state();
  const std::lock_guard lock(s.violations_mutex);
  const char* failed = s.failed_call;
  std::ostringstream text;
  text << "{\"calls\": " << s.calls << ", \"failed_call\": " << simulator::quoted(failed != nullptr ? failed : "")
       << ", \"violations\": [";
  for (std::size_t i = 0; i < s.violations.size(); ++i) {
    text << (i > 0 ? ", " : "") << simulator::quoted(s.violations[i]);
  }
  text << "]";
  for (const auto& [name, counters] : {std::pair{"live", &s.live}, std::pair{"events", &s.events}}) {
    text << ", \"" << name << "\": {";
    const char* comma = "";
    for (const auto& [kind, count] : counters->counts()) {
      if (count == 0) continue;
      text << comma << simulator::quoted(kind) << ": " << count;
      comma = ", ";
    }
    text << "}";
  }
  text << "}";
  return std::snprintf(out, size, "%s", text.str().c_str());
}

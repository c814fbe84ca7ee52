#include "freed_memory.h"

#include <atomic>
#include <cstdint>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace navit_edge::openvino {

void give_back() noexcept {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

void give_back_after_new_shapes() noexcept {
  constexpr std::uint32_t kPacks = 64;  // a trim takes about as long as the shape of one pack costs
  static std::atomic<std::uint32_t> packs{0};
  if (packs.fetch_add(1, std::memory_order_relaxed) % kPacks == kPacks - 1) give_back();
}

}  // namespace navit_edge::openvino

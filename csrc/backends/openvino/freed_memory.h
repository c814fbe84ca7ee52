// What glibc keeps of memory that is free, given back to the system.
#pragma once

namespace navit_edge::openvino {

void give_back() noexcept;

/// Of packs with shapes that the pack before did not have: what such a pack puts into the cache lies between what it
/// pushes out, and glibc would keep the gaps. Most calls do nothing. From any thread.
void give_back_after_new_shapes() noexcept;

}  // namespace navit_edge::openvino

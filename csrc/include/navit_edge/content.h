// What an image is known by besides its pixels, for sessions that remember results (docs/cache.md).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>

#include "navit_edge/cxx20.h"

namespace navit_edge {

/// 32 bytes of a collision-resistant hash: two contents that differ have, in practice, never the same.
using ContentDigest = std::array<std::uint8_t, 32>;

/// SHA-256 over a tree of 16 KiB leaves, on up to `threads` threads. Not the SHA-256 of the bytes.
NAVIT_EDGE_API ContentDigest content_digest(std::span<const std::uint8_t> bytes, int threads = 1);

/// An image file, say, whose bytes are hashed so that a result that is remembered saves the decoding, too.
struct Content {
  ContentDigest digest{};  // of all that decides the pixels: the bytes, and how they are decoded
  std::string note;        // handed back by Session::recall
};

}  // namespace navit_edge

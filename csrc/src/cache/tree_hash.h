// SHA-256 over a tree, so that several threads can hash one image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "base/function_ref.h"
#include "bundle/sha256.h"
#include "navit_edge/content.h"

namespace navit_edge {

inline constexpr std::size_t kLeafBytes = std::size_t{1} << 14;

/// Hashes a record, field by field. Two records whose fields differ give different input to the hash: every field goes
/// in with its length.
class FieldHash {
 public:
  /// `kind` says what the fields are: records of different kinds differ.
  explicit FieldHash(std::string_view kind) { text(kind); }

  FieldHash& text(std::string_view value);
  FieldHash& number(std::int64_t value);
  FieldHash& digest(const ContentDigest& value);
  ContentDigest finish() { return hash_.digest(); }

 private:
  Sha256 hash_;
};

/// The bytes of a leaf, where they lie, or in `scratch`, which has room for `scratch_bytes` of tree_hash.
using Leaf = FunctionRef<std::span<const std::uint8_t>(std::size_t leaf, std::uint8_t* scratch)>;

/// The SHA-256 of `head` and of the SHA-256 of each leaf, in order; `leaf` is called from any of `threads` threads.
/// `head` must say how many leaves there are and what belongs to which.
ContentDigest tree_hash(FieldHash& head, std::size_t leaves, int threads, std::size_t scratch_bytes, Leaf leaf);

}  // namespace navit_edge

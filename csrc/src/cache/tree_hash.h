// SHA-256 over a tree, so that several threads can hash one image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/function_ref.h"
#include "bundle/sha256.h"
#include "navit_edge/content.h"

namespace navit_edge {

inline constexpr std::size_t kLeafBytes = std::size_t{1} << 16;

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

/// The SHA-256 of `head` and of the SHA-256 of each leaf, in order; `feed(leaf, hash)` gives a leaf's bytes, from any
/// of `threads` threads. `head` must say how many leaves there are and what belongs to which.
ContentDigest tree_hash(FieldHash& head, std::size_t leaves, int threads,
                        FunctionRef<void(std::size_t leaf, Sha256& hash)> feed);

}  // namespace navit_edge

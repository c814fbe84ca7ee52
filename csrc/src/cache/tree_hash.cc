#include "cache/tree_hash.h"

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace navit_edge {

FieldHash& FieldHash::text(std::string_view value) {
  number(static_cast<std::int64_t>(value.size()));
  hash_.update(std::as_bytes(std::span(value)));
  return *this;
}

FieldHash& FieldHash::number(std::int64_t value) {
  std::array<std::uint8_t, 8> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(static_cast<std::uint64_t>(value) >> (8 * i));
  }
  hash_.update(std::as_bytes(std::span(bytes)));
  return *this;
}

FieldHash& FieldHash::digest(const ContentDigest& value) {
  hash_.update(std::as_bytes(std::span(value)));
  return *this;
}

ContentDigest tree_hash(FieldHash& head, std::size_t leaves, int threads,
                        FunctionRef<void(std::size_t leaf, Sha256& hash)> feed) {
  std::vector<ContentDigest> digests(leaves);
  parallel_for(leaves, threads, [&](std::size_t leaf) {
    Sha256 hash;
    feed(leaf, hash);
    digests[leaf] = hash.digest();
  });
  for (const ContentDigest& one : digests) head.digest(one);
  return head.finish();
}

ContentDigest content_digest(std::span<const std::uint8_t> bytes, int threads) {
  const std::size_t leaves = (bytes.size() + kLeafBytes - 1) / kLeafBytes;
  FieldHash head("bytes");
  head.number(static_cast<std::int64_t>(bytes.size()));
  return tree_hash(head, leaves, threads, [&](std::size_t leaf, Sha256& hash) {
    const std::size_t begin = leaf * kLeafBytes;
    hash.update(std::as_bytes(bytes.subspan(begin, std::min(kLeafBytes, bytes.size() - begin))));
  });
}

}  // namespace navit_edge

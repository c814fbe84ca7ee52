#include "cache/tree_hash.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace navit_edge {
namespace {

constexpr std::size_t kBlockBytes = 64;

}  // namespace

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

namespace {

/// Their SHA-256, several at once as far as they go together.
void digest_each(std::span<const std::span<const std::uint8_t>> parts, ContentDigest* digests) {
  std::array<Sha256, kMostSha256Lanes> hashes;
  std::array<const std::uint8_t*, kMostSha256Lanes> bytes{};
  std::size_t blocks = SIZE_MAX;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    bytes[i] = parts[i].data();
    blocks = std::min(blocks, parts[i].size() / kBlockBytes);
  }
  if (parts.size() == 1) blocks = 0;
  if (blocks > 0) Sha256::update_together(std::span(hashes).first(parts.size()), bytes.data(), blocks);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    hashes[i].update(std::as_bytes(parts[i].subspan(blocks * kBlockBytes)));
    digests[i] = hashes[i].digest();
  }
}

}  // namespace

ContentDigest tree_hash(FieldHash& head, std::size_t leaves, int threads, std::size_t scratch_bytes, Leaf leaf) {
  const std::size_t lanes = sha256_lanes();
  std::vector<ContentDigest> digests(leaves);
  parallel_for((leaves + lanes - 1) / lanes, threads, [&](std::size_t group) {
    thread_local std::vector<std::uint8_t> scratch;
    if (scratch.size() < lanes * scratch_bytes) scratch.resize(lanes * scratch_bytes);
    const std::size_t first = group * lanes;
    const std::size_t count = std::min(lanes, leaves - first);
    std::array<std::span<const std::uint8_t>, kMostSha256Lanes> parts;
    for (std::size_t i = 0; i < count; ++i) parts[i] = leaf(first + i, scratch.data() + i * scratch_bytes);
    digest_each(std::span(parts).first(count), &digests[first]);
  });
  for (const ContentDigest& one : digests) head.digest(one);
  return head.finish();
}

ContentDigest content_digest(std::span<const std::uint8_t> bytes, int threads) {
  const std::size_t leaves = (bytes.size() + kLeafBytes - 1) / kLeafBytes;
  FieldHash head("bytes");
  head.number(static_cast<std::int64_t>(bytes.size()));
  return tree_hash(head, leaves, threads, 0, [&](std::size_t leaf, std::uint8_t*) {
    const std::size_t begin = leaf * kLeafBytes;
    return bytes.subspan(begin, std::min(kLeafBytes, bytes.size() - begin));
  });
}

}  // namespace navit_edge

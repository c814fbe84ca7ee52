// Chunks of PNG files, made and mended.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "support/image_files.h"

inline std::uint32_t png_checksum(std::span<const std::uint8_t> bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const std::uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

inline void put_big_endian(std::uint8_t* to, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<std::uint8_t>(value >> 8 * (3 - i));
}

inline Bytes png_chunk(const std::string& kind, const Bytes& content) {
  Bytes out(12 + content.size());
  put_big_endian(out.data(), static_cast<std::uint32_t>(content.size()));
  std::copy(kind.begin(), kind.end(), out.begin() + 4);
  std::copy(content.begin(), content.end(), out.begin() + 8);
  const std::size_t end = 8 + content.size();
  put_big_endian(out.data() + end, png_checksum({out.data() + 4, end - 4}));
  return out;
}

/// `file` with a chunk behind its header, which has 25 bytes.
inline Bytes with_chunk(Bytes file, const std::string& kind, const Bytes& content) {
  const Bytes chunk = png_chunk(kind, content);
  file.insert(file.begin() + 8 + 25, chunk.begin(), chunk.end());
  return file;
}

/// `file` with a chunk before its last one, which has 12 bytes.
inline Bytes with_late_chunk(Bytes file, const std::string& kind, const Bytes& content) {
  const Bytes chunk = png_chunk(kind, content);
  file.insert(file.end() - 12, chunk.begin(), chunk.end());
  return file;
}

/// A chunk of a file: where it begins, and the bytes of its content.
struct PngChunkPlace {
  std::size_t at;
  std::size_t length;
};

inline std::vector<PngChunkPlace> png_chunks(const Bytes& file) {
  std::vector<PngChunkPlace> chunks;
  std::size_t at = 8;
  while (at + 12 <= file.size()) {
    const std::size_t length = std::size_t{file[at]} << 24 | std::size_t{file[at + 1]} << 16 |
                               std::size_t{file[at + 2]} << 8 | std::size_t{file[at + 3]};
    if (length > file.size() - at - 12) break;
    chunks.push_back({at, length});
    at += 12 + length;
  }
  return chunks;
}

/// The same chunks with right checksums, as far as chunks can be followed.
inline Bytes with_checksums(Bytes file) {
  for (const PngChunkPlace chunk : png_chunks(file)) {
    const std::size_t end = chunk.at + 8 + chunk.length;
    put_big_endian(file.data() + end, png_checksum({file.data() + chunk.at + 4, chunk.length + 4}));
  }
  return file;
}

/// `file` with the content of one of its chunks mutated, and that chunk's length and checksum right.
inline Bytes with_mutated_chunk(const Bytes& file, std::mt19937& random) {
  const std::vector<PngChunkPlace> chunks = png_chunks(file);
  const PngChunkPlace chunk = chunks[drawn(random, chunks.size() - 1)];
  const auto begin = file.begin() + static_cast<std::ptrdiff_t>(chunk.at);
  const auto content = begin + 8;
  const auto behind = content + static_cast<std::ptrdiff_t>(chunk.length) + 4;
  const Bytes changed = png_chunk({begin + 4, content}, mutated({content, behind - 4}, 2, random));
  Bytes out(file.begin(), begin);
  out.insert(out.end(), changed.begin(), changed.end());
  out.insert(out.end(), behind, file.end());
  return out;
}

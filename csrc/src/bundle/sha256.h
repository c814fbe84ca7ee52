// SHA-256 (FIPS 180-4), by the CPU's own instructions if it has them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace navit_edge {

enum class Sha256Kernel { kPortable, kX86ShaNi, kArmV8 };

/// The fastest kernel this CPU runs.
Sha256Kernel best_sha256_kernel() noexcept;

/// How many inputs the processor hashes at once by that kernel, faster than one after the other.
std::size_t sha256_lanes(Sha256Kernel kernel = best_sha256_kernel()) noexcept;
inline constexpr std::size_t kMostSha256Lanes = 8;

/// Incremental hash. Not thread-safe; one object a stream.
class Sha256 {
 public:
  explicit Sha256(Sha256Kernel kernel = best_sha256_kernel()) noexcept;
  void update(std::span<const std::byte> bytes) noexcept;
  /// `blocks` blocks of 64 bytes for each of up to sha256_lanes hashes of one kernel, which hold whole blocks until
  /// now.
  static void update_together(std::span<Sha256> hashes, const std::uint8_t* const* bytes, std::size_t blocks) noexcept;
  /// The digest. Ends the stream.
  std::array<std::uint8_t, 32> digest() noexcept;
  /// The same in lower-case hex.
  std::string finish();

 private:
  void compress(const std::uint8_t* blocks, std::size_t count) noexcept;

  Sha256Kernel kernel_;
  std::array<std::uint32_t, 8> state_;
  std::array<std::uint8_t, 64> tail_;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace navit_edge

#include "bundle/sha256.h"

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

namespace navit_edge {
namespace {

constexpr std::size_t kBlockBytes = 64;

// First 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2).
alignas(64) constexpr std::uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t load_be32(const std::uint8_t* p) noexcept {
  return (std::uint32_t{p[0]} << 24) | (std::uint32_t{p[1]} << 16) | (std::uint32_t{p[2]} << 8) | p[3];
}

void compress_portable(std::uint32_t* state, const std::uint8_t* blocks, std::size_t count) noexcept {
  for (; count != 0; --count, blocks += kBlockBytes) {
    std::uint32_t w[64];
    for (int i = 0; i < 16; ++i) w[i] = load_be32(blocks + 4 * i);
    for (int i = 16; i < 64; ++i) {
      const std::uint32_t a = w[i - 15];
      const std::uint32_t b = w[i - 2];
      w[i] = w[i - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ (a >> 3)) + w[i - 7] +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ (b >> 10));
    }
    std::uint32_t s[8];
    std::copy_n(state, 8, s);
    for (int i = 0; i < 64; ++i) {
      const std::uint32_t sum1 = std::rotr(s[4], 6) ^ std::rotr(s[4], 11) ^ std::rotr(s[4], 25);
      const std::uint32_t choose = (s[4] & s[5]) ^ (~s[4] & s[6]);
      const std::uint32_t t1 = s[7] + sum1 + choose + kRound[i] + w[i];
      const std::uint32_t sum0 = std::rotr(s[0], 2) ^ std::rotr(s[0], 13) ^ std::rotr(s[0], 22);
      const std::uint32_t majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
      s[7] = s[6];
      s[6] = s[5];
      s[5] = s[4];
      s[4] = s[3] + t1;
      s[3] = s[2];
      s[2] = s[1];
      s[1] = s[0];
      s[0] = t1 + sum0 + majority;
    }
    for (int i = 0; i < 8; ++i) state[i] += s[i];
  }
}

#if defined(__x86_64__)

bool has_sha_ni() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return false;
  const bool sse41 = (c & (1u << 19)) != 0 && (c & (1u << 9)) != 0;  // SSE4.1 and SSSE3
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  return sse41 && (b & (1u << 29)) != 0;
}

// The instructions hold the state as (A,B,E,F) and (C,D,G,H), high word first. Each of the 16 steps does four rounds
// and, ahead of its use, prepares the four schedule words of twelve rounds later. A step waits for the one before: two
// inputs in turn fill the gaps.
template <int kInputs>
__attribute__((target("sha,sse4.1,ssse3"))) void compress_sha_ni(std::uint32_t (*states)[8],
                                                                 const std::uint8_t* const* blocks,
                                                                 std::size_t count) noexcept {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
  __m128i abef[kInputs];
  __m128i cdgh[kInputs];
  for (int n = 0; n < kInputs; ++n) {
    const __m128i dcba = _mm_loadu_si128(reinterpret_cast<const __m128i*>(states[n]));
    const __m128i hgfe = _mm_loadu_si128(reinterpret_cast<const __m128i*>(states[n] + 4));
    const __m128i cdab = _mm_shuffle_epi32(dcba, 0xB1);
    const __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1B);
    abef[n] = _mm_alignr_epi8(cdab, efgh, 8);
    cdgh[n] = _mm_blend_epi16(efgh, cdab, 0xF0);
  }
  for (std::size_t block = 0; block < count; ++block) {
    __m128i abef_before[kInputs];
    __m128i cdgh_before[kInputs];
    __m128i words[kInputs][4];
    for (int n = 0; n < kInputs; ++n) {
      abef_before[n] = abef[n];
      cdgh_before[n] = cdgh[n];
      const auto* const from = reinterpret_cast<const __m128i*>(blocks[n] + kBlockBytes * block);
      for (int i = 0; i < 4; ++i) words[n][i] = _mm_shuffle_epi8(_mm_loadu_si128(from + i), big_endian);
    }
#pragma GCC unroll 16
    for (int step = 0; step < 16; ++step) {
#pragma GCC unroll 2
      for (int n = 0; n < kInputs; ++n) {
        __m128i* const w = words[n];
        const __m128i now = w[step & 3];
        const __m128i sum = _mm_add_epi32(now, _mm_load_si128(reinterpret_cast<const __m128i*>(kRound + 4 * step)));
        cdgh[n] = _mm_sha256rnds2_epu32(cdgh[n], abef[n], sum);
        abef[n] = _mm_sha256rnds2_epu32(abef[n], cdgh[n], _mm_shuffle_epi32(sum, 0x0E));
        if (step < 12) {  // words of step + 4
          const __m128i next1 = w[(step + 1) & 3];
          const __m128i next2 = w[(step + 2) & 3];
          const __m128i next3 = w[(step + 3) & 3];
          const __m128i w_minus_7 = _mm_alignr_epi8(next3, next2, 4);
          w[step & 3] = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(now, next1), w_minus_7), next3);
        }
      }
    }
    for (int n = 0; n < kInputs; ++n) {
      abef[n] = _mm_add_epi32(abef[n], abef_before[n]);
      cdgh[n] = _mm_add_epi32(cdgh[n], cdgh_before[n]);
    }
  }
  for (int n = 0; n < kInputs; ++n) {
    const __m128i feba = _mm_shuffle_epi32(abef[n], 0x1B);
    const __m128i dchg = _mm_shuffle_epi32(cdgh[n], 0xB1);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(states[n]), _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(states[n] + 4), _mm_alignr_epi8(dchg, feba, 8));
  }
}

// Eight inputs, one in each lane: for processors without instructions of their own for it.
using Lanes [[gnu::vector_size(32)]] = std::uint32_t;
constexpr std::size_t kLanes = 8;

__attribute__((target("avx2"))) void compress_avx2(std::uint32_t (*states)[8], const std::uint8_t* const* blocks,
                                                   std::size_t count) noexcept {
#define NAVIT_EDGE_ROTR(x, n) (((x) >> (n)) | ((x) << (32 - (n))))
  Lanes state[8];
  for (std::size_t i = 0; i < 8; ++i) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) state[i][lane] = states[lane][i];
  }
  for (std::size_t block = 0; block < count; ++block) {
    std::uint32_t loaded[16][kLanes];
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const std::uint8_t* const from = blocks[lane] + kBlockBytes * block;
      for (std::size_t i = 0; i < 16; ++i) loaded[i][lane] = load_be32(from + 4 * i);
    }
    Lanes w[16];
    for (std::size_t i = 0; i < 16; ++i) std::memcpy(&w[i], loaded[i], sizeof(Lanes));
    Lanes s[8];
    for (std::size_t i = 0; i < 8; ++i) s[i] = state[i];
#pragma GCC unroll 64
    for (std::size_t i = 0; i < 64; ++i) {
      if (i >= 16) {
        const Lanes a = w[(i - 15) & 15];
        const Lanes b = w[(i - 2) & 15];
        w[i & 15] += (NAVIT_EDGE_ROTR(a, 7) ^ NAVIT_EDGE_ROTR(a, 18) ^ (a >> 3)) + w[(i - 7) & 15] +
                     (NAVIT_EDGE_ROTR(b, 17) ^ NAVIT_EDGE_ROTR(b, 19) ^ (b >> 10));
      }
      const Lanes sum1 = NAVIT_EDGE_ROTR(s[4], 6) ^ NAVIT_EDGE_ROTR(s[4], 11) ^ NAVIT_EDGE_ROTR(s[4], 25);
      const Lanes t1 = s[7] + sum1 + ((s[4] & s[5]) ^ (~s[4] & s[6])) + kRound[i] + w[i & 15];
      const Lanes sum2 = NAVIT_EDGE_ROTR(s[0], 2) ^ NAVIT_EDGE_ROTR(s[0], 13) ^ NAVIT_EDGE_ROTR(s[0], 22);
      const Lanes t2 = sum2 + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      s[7] = s[6];
      s[6] = s[5];
      s[5] = s[4];
      s[4] = s[3] + t1;
      s[3] = s[2];
      s[2] = s[1];
      s[1] = s[0];
      s[0] = t1 + t2;
    }
    for (std::size_t i = 0; i < 8; ++i) state[i] += s[i];
  }
  for (std::size_t i = 0; i < 8; ++i) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) states[lane][i] = state[i][lane];
  }
#undef NAVIT_EDGE_ROTR
}

#elif defined(__aarch64__) && defined(__linux__)

bool has_arm_sha2() noexcept {
  constexpr unsigned long kHwcapSha2 = 1UL << 6;
  return (getauxval(AT_HWCAP) & kHwcapSha2) != 0;
}

__attribute__((target("+crypto"))) void compress_armv8(std::uint32_t* state, const std::uint8_t* blocks,
                                                       std::size_t count) noexcept {
  uint32x4_t abcd = vld1q_u32(state);
  uint32x4_t efgh = vld1q_u32(state + 4);
  for (; count != 0; --count, blocks += kBlockBytes) {
    const uint32x4_t abcd_before = abcd;
    const uint32x4_t efgh_before = efgh;
    uint32x4_t w[4];
    for (int i = 0; i < 4; ++i) w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 16 * i)));
    for (int step = 0; step < 16; ++step) {
      const uint32x4_t now = w[step & 3];
      const uint32x4_t sum = vaddq_u32(now, vld1q_u32(kRound + 4 * step));
      if (step < 12) {  // words of step + 4
        w[step & 3] = vsha256su1q_u32(vsha256su0q_u32(now, w[(step + 1) & 3]), w[(step + 2) & 3], w[(step + 3) & 3]);
      }
      const uint32x4_t abcd_in = abcd;
      abcd = vsha256hq_u32(abcd, efgh, sum);
      efgh = vsha256h2q_u32(efgh, abcd_in, sum);
    }
    abcd = vaddq_u32(abcd, abcd_before);
    efgh = vaddq_u32(efgh, efgh_before);
  }
  vst1q_u32(state, abcd);
  vst1q_u32(state + 4, efgh);
}

#endif

}  // namespace

Sha256Kernel best_sha256_kernel() noexcept {
#if defined(__x86_64__)
  static const bool fast = has_sha_ni();
  return fast ? Sha256Kernel::kX86ShaNi : Sha256Kernel::kPortable;
#elif defined(__aarch64__) && defined(__linux__)
  static const bool fast = has_arm_sha2();
  return fast ? Sha256Kernel::kArmV8 : Sha256Kernel::kPortable;
#else
  return Sha256Kernel::kPortable;
#endif
}

std::size_t sha256_lanes(Sha256Kernel kernel) noexcept {
#if defined(__x86_64__)
  if (kernel == Sha256Kernel::kX86ShaNi) return 2;
  static const bool wide = __builtin_cpu_supports("avx2") != 0;
  if (wide) return kLanes;
#endif
  (void)kernel;
  return 1;
}

void Sha256::update_together(std::span<Sha256> hashes, const std::uint8_t* const* bytes, std::size_t blocks) noexcept {
  const std::size_t lanes = sha256_lanes(hashes[0].kernel_);
  std::uint32_t states[kMostSha256Lanes][8] = {};
  const std::uint8_t* from[kMostSha256Lanes] = {};
  for (std::size_t n = 0; n < lanes; ++n) {  // a lane too many works for nobody
    const std::size_t which = std::min(n, hashes.size() - 1);
    std::copy_n(hashes[which].state_.data(), 8, states[n]);
    from[n] = bytes[which];
  }
#if defined(__x86_64__)
  if (hashes[0].kernel_ == Sha256Kernel::kX86ShaNi) {
    compress_sha_ni<2>(states, from, blocks);
  } else if (lanes == kLanes) {
    compress_avx2(states, from, blocks);
  }
#endif
  for (std::size_t n = 0; n < hashes.size(); ++n) {
    if (lanes == 1) {
      hashes[n].compress(bytes[n], blocks);
    } else {
      std::copy_n(states[n], 8, hashes[n].state_.data());
    }
    hashes[n].total_bytes_ += blocks * kBlockBytes;
  }
}

Sha256::Sha256(Sha256Kernel kernel) noexcept
    : kernel_(kernel),
      state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19},
      tail_{} {}

void Sha256::compress(const std::uint8_t* blocks, std::size_t count) noexcept {
  switch (kernel_) {
#if defined(__x86_64__)
    case Sha256Kernel::kX86ShaNi: {
      const std::uint8_t* const one[1] = {blocks};
      return compress_sha_ni<1>(reinterpret_cast<std::uint32_t (*)[8]>(state_.data()), one, count);
    }
#elif defined(__aarch64__) && defined(__linux__)
    case Sha256Kernel::kArmV8:
      return compress_armv8(state_.data(), blocks, count);
#endif
    default:
      return compress_portable(state_.data(), blocks, count);
  }
}

void Sha256::update(std::span<const std::byte> bytes) noexcept {
  const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
  std::size_t left = bytes.size();
  if (left == 0) return;
  const std::size_t held = total_bytes_ % kBlockBytes;
  total_bytes_ += left;
  if (held != 0) {
    const std::size_t taken = std::min(kBlockBytes - held, left);
    std::memcpy(tail_.data() + held, data, taken);
    data += taken;
    left -= taken;
    if (held + taken < kBlockBytes) return;
    compress(tail_.data(), 1);
  }
  compress(data, left / kBlockBytes);
  const std::size_t rest = left % kBlockBytes;
  std::memcpy(tail_.data(), data + (left - rest), rest);
}

std::array<std::uint8_t, 32> Sha256::digest() noexcept {
  const std::uint64_t bits = total_bytes_ * 8;
  std::size_t held = total_bytes_ % kBlockBytes;
  tail_[held++] = 0x80;
  if (held > kBlockBytes - 8) {
    std::fill(tail_.begin() + static_cast<std::ptrdiff_t>(held), tail_.end(), std::uint8_t{0});
    compress(tail_.data(), 1);
    held = 0;
  }
  std::fill(tail_.begin() + static_cast<std::ptrdiff_t>(held), tail_.end() - 8, std::uint8_t{0});
  for (int i = 0; i < 8; ++i) tail_[static_cast<std::size_t>(56 + i)] = static_cast<std::uint8_t>(bits >> (56 - 8 * i));
  compress(tail_.data(), 1);

  std::array<std::uint8_t, 32> bytes{};
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
  }
  return bytes;
}

std::string Sha256::finish() {
  constexpr char kHex[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(64);
  for (const std::uint8_t byte : digest()) {
    hex.push_back(kHex[byte >> 4]);
    hex.push_back(kHex[byte & 0xF]);
  }
  return hex;
}

}  // namespace navit_edge

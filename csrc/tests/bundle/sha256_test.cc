#include "bundle/sha256.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "support/check.h"
#include "support/temp_dir.h"

using navit_edge::best_sha256_kernel;
using navit_edge::kMostSha256Lanes;
using navit_edge::Sha256;
using navit_edge::sha256_lanes;
using navit_edge::Sha256Kernel;

namespace {

std::string hash_of(const std::string& text, Sha256Kernel kernel) {
  Sha256 hash(kernel);
  hash.update(std::as_bytes(std::span(text)));
  return hash.finish();
}

/// The kernels that this CPU runs.
std::vector<Sha256Kernel> kernels() {
  std::vector<Sha256Kernel> all{Sha256Kernel::kPortable};
  if (navit_edge::best_sha256_kernel() != Sha256Kernel::kPortable) all.push_back(navit_edge::best_sha256_kernel());
  return all;
}

/// 0, 1, ... 250, 0, ...: the bytes of the vectors that Python's hashlib made below.
std::string ramp(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i % 251);
  return text;
}

}  // namespace

TEST_CASE("the vectors of FIPS 180-4 come out") {
  for (const Sha256Kernel kernel : kernels()) {
    CHECK(hash_of("", kernel) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(hash_of("abc", kernel) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(hash_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", kernel) ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(hash_of(std::string(1000000, 'a'), kernel) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  }
}

TEST_CASE("digests of every padding length agree with hashlib") {
  // hashlib.sha256(bytes(i % 251 for i in range(n))).hexdigest()
  const std::vector<std::pair<std::size_t, std::string>> expected{
      {1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"},
      {55, "463eb28e72f82e0a96c0a4cc53690c571281131f672aa229e0d45ae59b598b59"},
      {56, "da2ae4d6b36748f2a318f23e7ab1dfdf45acdc9d049bd80e59de82a60895f562"},
      {57, "2fe741af801cc238602ac0ec6a7b0c3a8a87c7fc7d7f02a3fe03d1c12eac4d8f"},
      {63, "29af2686fd53374a36b0846694cc342177e428d1647515f078784d69cdb9e488"},
      {64, "fdeab9acf3710362bd2658cdc9a29e8f9c757fcf9811603a8c447cd1d9151108"},
      {65, "4bfd2c8b6f1eec7a2afeb48b934ee4b2694182027e6d0fc075074f2fabb31781"},
      {119, "da18797ed7c3a777f0847f429724a2d8cd5138e6ed2895c3fa1a6d39d18f7ec6"},
      {120, "f52b23db1fbb6ded89ef42a23ce0c8922c45f25c50b568a93bf1c075420bbb7c"},
      {127, "92ca0fa6651ee2f97b884b7246a562fa71250fedefe5ebf270d31c546bfea976"},
      {128, "471fb943aa23c511f6f72f8d1652d9c880cfa392ad80503120547703e56a2be5"},
      {129, "5099c6a56203f9687f7d33f4bfdf576d31dc91f6b695ecea38b2770c87631135"},
      {1000, "4e4c294b331f7a2099a379bec34b9f9fc03dc46ab465d998f4d683da53487e6d"},
      {65537, "237356e18b503616912abb8ffaed3a72591e397d4ac294c4637917d48a3f529d"},
  };
  for (const Sha256Kernel kernel : kernels()) {
    for (const auto& [bytes, digest] : expected) CHECK(hash_of(ramp(bytes), kernel) == digest);
  }
}

TEST_CASE("the way a stream is cut does not change its hash") {
  const std::string text = ramp(1000);
  for (const Sha256Kernel kernel : kernels()) {
    const std::string whole = hash_of(text, kernel);
    for (const std::size_t piece : {1U, 3U, 63U, 64U, 65U, 127U, 999U}) {
      Sha256 hash(kernel);
      for (std::size_t at = 0; at < text.size(); at += piece) {
        hash.update(std::as_bytes(std::span(text).subspan(at, std::min(piece, text.size() - at))));
      }
      CHECK(hash.finish() == whole);
    }
  }
}

TEST_CASE("inputs that are hashed together have the digests of each alone, by every kernel") {
  std::vector<Sha256Kernel> kernels{Sha256Kernel::kPortable};
  if (best_sha256_kernel() != Sha256Kernel::kPortable) kernels.push_back(best_sha256_kernel());
  for (const Sha256Kernel kernel : kernels) {
    const std::size_t lanes = sha256_lanes(kernel);
    REQUIRE(lanes <= kMostSha256Lanes);
    for (std::size_t count = 1; count <= lanes; ++count) {
      std::vector<std::vector<std::uint8_t>> inputs(count);
      std::vector<const std::uint8_t*> bytes;
      for (std::size_t i = 0; i < count; ++i) {
        for (std::size_t at = 0; at < 64 * 5 + 9; ++at)
          inputs[i].push_back(static_cast<std::uint8_t>(at * at + 31 * i));
        bytes.push_back(inputs[i].data());
      }
      std::vector<Sha256> hashes(count, Sha256(kernel));
      Sha256::update_together(hashes, bytes.data(), 5);
      for (std::size_t i = 0; i < count; ++i) {
        hashes[i].update(std::as_bytes(std::span(inputs[i]).subspan(64 * 5)));
        Sha256 alone(kernel);
        alone.update(std::as_bytes(std::span(inputs[i])));
        CHECK(hashes[i].finish() == alone.finish());
      }
    }
  }
}

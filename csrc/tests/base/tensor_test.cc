#include "navit_edge/tensor.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "support/check.h"

using namespace navit_edge;

TEST_CASE("a tensor grows, keeps its memory when it shrinks, and moves") {
  HostTensor tensor("x", DType::kInt32);
  CHECK(tensor.bytes() == 0);
  tensor.resize(std::vector<std::int64_t>{10, 3});
  CHECK(tensor.bytes() == 120);
  CHECK(reinterpret_cast<std::uintptr_t>(tensor.data()) % 64 == 0);
  const std::byte* data = tensor.data();
  tensor.resize(std::vector<std::int64_t>{2});
  CHECK(tensor.data() == data);
  CHECK(tensor.bytes() == 8);
  HostTensor moved = std::move(tensor);
  CHECK(moved.data() == data);
  CHECK(tensor.data() == nullptr);
  CHECK(tensor.bytes() == 0);
  tensor = std::move(moved);
  CHECK(tensor.data() == data);
  tensor.resize(std::vector<std::int64_t>{0, 5});
  CHECK(tensor.bytes() == 0);
}

TEST_CASE("a tensor lies in the memory it is lent wherever it fits there, and else in its own") {
  alignas(64) std::array<std::byte, 128> memory{};
  HostTensor tensor("x", DType::kInt32);
  tensor.resize(std::vector<std::int64_t>{4});
  const std::byte* own = tensor.data();
  tensor.lend(memory);
  CHECK(tensor.bytes() == 0);  // what it held before is not there
  tensor.resize(std::vector<std::int64_t>{32});
  CHECK(tensor.data() == memory.data());
  CHECK(tensor.bytes() == 128);
  tensor.resize(std::vector<std::int64_t>{33});
  CHECK(tensor.data() != memory.data());
  CHECK(tensor.bytes() == 132);
  tensor.resize(std::vector<std::int64_t>{2});
  CHECK(tensor.data() == memory.data());
  HostTensor moved = std::move(tensor);
  CHECK(moved.data() == memory.data());
  CHECK(tensor.data() == nullptr);
  tensor.resize(std::vector<std::int64_t>{1});  // what was lent went along
  CHECK(tensor.data() != memory.data());
  moved.lend({});
  moved.resize(std::vector<std::int64_t>{2});
  CHECK(moved.data() != memory.data());
  CHECK(own != memory.data());
}

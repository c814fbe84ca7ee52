#include "navit_edge/tensor.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

namespace navit_edge {

namespace {
constexpr std::size_t kAlignment = 64;
constexpr std::size_t kMostRank = 4;  // of the graph contract: 2
}  // namespace

HostTensor::HostTensor(std::string name, DType dtype) : name_(std::move(name)), dtype_(dtype) {}

HostTensor::~HostTensor() { std::free(own_); }

HostTensor::HostTensor(HostTensor&& other) noexcept
    : name_(std::move(other.name_)),
      dtype_(other.dtype_),
      shape_(std::move(other.shape_)),
      data_(std::exchange(other.data_, nullptr)),
      own_(std::exchange(other.own_, nullptr)),
      own_bytes_(std::exchange(other.own_bytes_, 0)),
      lent_(std::exchange(other.lent_, {})) {
  other.shape_.clear();
}

HostTensor& HostTensor::operator=(HostTensor&& other) noexcept {
  if (this != &other) {
    std::free(own_);
    name_ = std::move(other.name_);
    dtype_ = other.dtype_;
    shape_ = std::move(other.shape_);
    other.shape_.clear();
    data_ = std::exchange(other.data_, nullptr);
    own_ = std::exchange(other.own_, nullptr);
    own_bytes_ = std::exchange(other.own_bytes_, 0);
    lent_ = std::exchange(other.lent_, {});
  }
  return *this;
}

void HostTensor::lend(std::span<std::byte> memory) noexcept {
  lent_ = memory;
  data_ = nullptr;
  shape_.clear();
}

std::size_t HostTensor::bytes() const noexcept {
  if (data_ == nullptr) return 0;
  std::size_t count = element_bytes(dtype_);
  for (const std::int64_t extent : shape_) count *= static_cast<std::size_t>(extent);
  return count;
}

void HostTensor::resize(std::span<const std::int64_t> shape) {
  std::size_t needed = element_bytes(dtype_);
  for (const std::int64_t extent : shape) needed *= static_cast<std::size_t>(extent);
  reserve(needed);
  data_ = lends(needed) ? lent_.data() : own_;
  shape_.assign(shape.begin(), shape.end());
}

void HostTensor::reserve(std::size_t bytes) {
  shape_.reserve(kMostRank);
  if (lends(bytes) || (bytes <= own_bytes_ && own_ != nullptr)) return;
  const std::size_t capacity = std::max(bytes + kAlignment - 1, kAlignment) / kAlignment * kAlignment;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, capacity));
  if (memory == nullptr) throw std::bad_alloc();
  std::free(own_);
  own_ = memory;
  own_bytes_ = capacity;
  data_ = nullptr;
  shape_.clear();
}

}  // namespace navit_edge

// A tensor in host memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "navit_edge/cxx20.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// A host tensor: its bytes (64-byte aligned) lie in memory that it owns and that grows without being given back, or in
/// memory that it is lent.
class NAVIT_EDGE_API HostTensor {
 public:
  HostTensor() = default;
  HostTensor(std::string name, DType dtype);
  ~HostTensor();
  HostTensor(HostTensor&&) noexcept;
  HostTensor& operator=(HostTensor&&) noexcept;
  HostTensor(const HostTensor&) = delete;
  HostTensor& operator=(const HostTensor&) = delete;

  /// Sets the shape; reallocates only if the bytes do not fit. Contents are unspecified afterwards.
  void resize(std::span<const std::int64_t> shape);

  /// Sets memory aside: a `resize` to no more bytes allocates nothing. If it must allocate, the tensor is left
  /// without bytes.
  void reserve(std::size_t bytes);

  /// Lends the tensor memory, where it lies from the next `resize` on whenever its bytes fit there; else in memory of
  /// its own. Borrows `memory` until the tensor goes or is lent another; an empty span ends it. Leaves it without
  /// bytes.
  void lend(std::span<std::byte> memory) noexcept;
  [[nodiscard]] bool lent() const noexcept { return !lent_.empty(); }

  [[nodiscard]] const std::string& name() const& noexcept { return name_; }
  [[nodiscard]] DType dtype() const noexcept { return dtype_; }
  [[nodiscard]] std::span<const std::int64_t> shape() const& noexcept { return shape_; }
  [[nodiscard]] std::size_t bytes() const noexcept;
  [[nodiscard]] std::byte* data() & noexcept { return data_; }
  [[nodiscard]] const std::byte* data() const& noexcept { return data_; }

  template <class T>
  [[nodiscard]] T* as() & noexcept {
    return reinterpret_cast<T*>(data_);
  }
  template <class T>
  [[nodiscard]] const T* as() const& noexcept {
    return reinterpret_cast<const T*>(data_);
  }

  // What is borrowed from a temporary would dangle.
  const std::string& name() const&& = delete;
  std::span<const std::int64_t> shape() const&& = delete;
  const std::byte* data() const&& = delete;
  template <class T>
  const T* as() const&& = delete;

 private:
  [[nodiscard]] bool lends(std::size_t bytes) const noexcept { return !lent_.empty() && bytes <= lent_.size(); }

  std::string name_;
  DType dtype_ = DType::kFloat32;
  std::vector<std::int64_t> shape_;
  std::byte* data_ = nullptr;  // in own_ or lent_
  std::byte* own_ = nullptr;
  std::size_t own_bytes_ = 0;
  std::span<std::byte> lent_;
};

}  // namespace navit_edge

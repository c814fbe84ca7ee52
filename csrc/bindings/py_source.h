// Image files that Python decodes, on threads of the session.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bindings.h"
#include "navit_edge/image_source.h"
#include "result_queue.h"

namespace navit_edge::bindings {

/// An object of python/navit_edge/decode/deferred.py, which is let go of with the results. It takes the GIL for each
/// step; what decodes lets go of it meanwhile.
class PySource final : public ImageSource {
 public:
  /// With the GIL.
  PySource(pybind11::handle deferred, std::shared_ptr<ResultQueue> result_queue);
  ~PySource() override;

  [[nodiscard]] std::uint64_t held_bytes() const noexcept override { return held_bytes_; }
  std::optional<ContentDigest> digest() override;
  void recalled(const std::string& note) override;
  std::uint64_t open(const DecodeTarget& target) override;
  OwnedImage decode() override;
  std::string note() override;

 private:
  std::unique_ptr<Borrowed> deferred_;
  std::shared_ptr<ResultQueue> result_queue_;
  std::uint64_t held_bytes_;
};

}  // namespace navit_edge::bindings

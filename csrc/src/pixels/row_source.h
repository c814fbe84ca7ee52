// Rows that come one after the other, as a decoder gives them.
#pragma once

#include <cstdint>

namespace navit_edge {

/// Not of several threads at once.
class RowSource {
 public:
  virtual ~RowSource() = default;

  /// Row y of the image, valid until a row is asked for that lies kBlockRows or more below it. Rows are asked for from
  /// the top to the bottom; any may be left out. May throw.
  virtual const std::uint8_t* row(std::int32_t y) = 0;
};

}  // namespace navit_edge

// One JPEG file in memory, decoded from the top to the bottom.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "navit_edge/types.h"
#include "pixels/row_source.h"

namespace navit_edge {

/// Borrows the file. Throws InvalidInput for whatever is wrong with it: what Pillow would decode in spite of a warning
/// is refused as well.
class JpegReader final : public RowSource {
 public:
  /// Reads the header.
  explicit JpegReader(std::span<const std::uint8_t> file);
  ~JpegReader() override;
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  [[nodiscard]] Size size() const noexcept;              // of the image
  [[nodiscard]] std::int32_t channels() const noexcept;  // 1: gray, 3: RGB

  /// Takes memory. Of a progressive file reads all of it. The image is decoded at 1 / `scale` of its sides, rounded up;
  /// 1, 2, 4 or 8.
  void start(std::int32_t scale = 1);
  /// Of the rows that come, once it has started.
  [[nodiscard]] Size rows_size() const noexcept;
  const std::uint8_t* row(std::int32_t y) override;
  /// The next row, to a place of the caller's; instead of row().
  void next_row_to(std::uint8_t* to);
  /// Reads what is left, to the mark of the end.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace navit_edge

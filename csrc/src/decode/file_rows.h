// Rows of an image file, and the image that is made of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "navit_edge/decoded_file.h"
#include "navit_edge/types.h"
#include "pixels/row_source.h"

namespace navit_edge {

/// A file that is decoded from the top to the bottom, once its reader has started.
class FileRows : public RowSource {
 public:
  /// Of the rows that come.
  [[nodiscard]] virtual Size rows_size() const noexcept = 0;
  [[nodiscard]] virtual std::int32_t channels() const noexcept = 0;  // 1: gray, 3: RGB, 4: RGBA

  const std::uint8_t* row(std::int32_t y) final;
  /// The next row, to a place of the caller's with kPixelSlack bytes behind it; instead of row().
  void next_row_to(std::uint8_t* to);
  /// Reads the rows that are left, and the end of the file. Throws InvalidInput if that is damaged.
  void finish();

 protected:
  virtual void read_row(std::uint8_t* to) = 0;
  virtual void read_end() = 0;
  /// The next row to be read.
  [[nodiscard]] std::int32_t next_row() const noexcept { return next_; }
  [[nodiscard]] std::size_t row_bytes() const noexcept;

 private:
  std::vector<std::uint8_t> kept_;  // kBlockRows of the last rows, row y at y % kBlockRows
  std::int32_t next_ = 0;           // rows before it were read
};

/// Throws InvalidInput if an image of `size`, by the header of a file of `format` ("PNG"), is not what `request` asks
/// for, or if that cannot be done.
void check_request(const DecodeRequest& request, Size size, const char* format);

/// All rows of an image of `size` as `request` has it: as they are, or resized as they come. To the end of the file.
DecodedFile image_of(FileRows& rows, Size size, const DecodeRequest& request);

}  // namespace navit_edge

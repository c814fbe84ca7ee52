// One JPEG file in memory, decoded from the top to the bottom.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "decode/file_rows.h"
#include "navit_edge/types.h"

namespace navit_edge {

/// Borrows the file. Throws InvalidInput for whatever is wrong with it: what Pillow would decode in spite of a warning
/// is refused as well.
class JpegReader final : public FileRows {
 public:
  /// Reads the header.
  explicit JpegReader(std::span<const std::uint8_t> file);
  ~JpegReader() override;
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  [[nodiscard]] Size size() const noexcept;                       // of the image
  [[nodiscard]] std::int32_t channels() const noexcept override;  // 1 or 3

  /// Takes memory. Of a progressive file reads all of it. The image is decoded at 1 / `scale` of its sides, rounded up;
  /// 1, 2, 4 or 8.
  void start(std::int32_t scale = 1);
  [[nodiscard]] Size rows_size() const noexcept override;

 private:
  void read_row(std::uint8_t* to) override;
  void read_end() override;

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace navit_edge

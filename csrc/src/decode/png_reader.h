// One PNG file in memory, decoded from the top to the bottom.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "decode/file_rows.h"
#include "decode/png_header.h"
#include "navit_edge/types.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// Borrows the file and what its header borrows. Throws InvalidInput for whatever is wrong with it: what others would
/// decode in spite of a warning is refused as well.
class PngReader final : public FileRows {
 public:
  PngReader(std::span<const std::uint8_t> file, const PngHeader& header);
  ~PngReader() override;
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  /// Before it starts: rows with alpha come as RGB, as PixelRows::rgb has it.
  void flatten(Alpha alpha, const Rgb& background);
  /// Takes memory. Of an interlaced file reads all of it.
  void start();
  [[nodiscard]] Size rows_size() const noexcept override;
  [[nodiscard]] std::int32_t channels() const noexcept override;
  /// Whether a row that was read has another alpha than 255.
  [[nodiscard]] bool transparent() const noexcept;

 private:
  void read_row(std::uint8_t* to) override;
  void read_end() override;

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace navit_edge

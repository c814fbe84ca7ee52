// Gradient energy of a small copy.
#include "navit_edge/complexity.h"

#include <array>
#include <cstdlib>

#include "pixels/image_check.h"
#include "sizing/checked.h"
#include "sizing/small_copy.h"

namespace navit_edge {
namespace {

/// The sum of |a - b|.
std::int32_t difference(const std::uint8_t* a, const std::uint8_t* b, std::int32_t count) {
  std::int32_t sum = 0;
  for (std::int32_t i = 0; i < count; ++i) sum += std::abs(a[i] - b[i]);
  return sum;
}

}  // namespace

double image_complexity(const ImageView& image, const PreprocessSpec& preprocess) {
  check_image(image, "the image", preprocess);
  return checked_complexity(image, preprocess);
}

double checked_complexity(const ImageView& image, const PreprocessSpec& preprocess) {
  SmallCopy copy(image, preprocess);
  const std::int32_t cols = copy.cols();
  std::array<std::uint8_t, kSmallCopySide> lines[2];
  std::int64_t sum = 0;
  for (std::int32_t i = 0; i < copy.rows(); ++i) {
    std::uint8_t* const line = lines[i % 2].data();
    copy.luma(i, line);
    sum += difference(line, line + 1, cols - 1);
    if (i > 0) sum += difference(line, lines[(i - 1) % 2].data(), cols);
  }
  const std::int64_t pairs = std::int64_t{copy.rows()} * (cols - 1) + std::int64_t{copy.rows() - 1} * cols;
  return pairs == 0 ? 0.0 : static_cast<double>(sum) / static_cast<double>(255 * pairs);
}

}  // namespace navit_edge

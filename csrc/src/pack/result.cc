#include "navit_edge/result.h"

#include <algorithm>

namespace navit_edge {
namespace {

std::shared_ptr<float[]> floats(std::int64_t count) {
  return std::shared_ptr<float[]>(new float[static_cast<std::size_t>(count)]);
}

std::int64_t count_of(const OutputView& view) noexcept { return view.rows * view.cols; }

/// `view` in `memory`, from `at` on; what is empty stays so.
OutputView moved_to(const std::shared_ptr<float[]>& memory, std::int64_t at, const OutputView& view) noexcept {
  if (view.empty()) return view;
  std::copy_n(view.data, count_of(view), memory.get() + at);
  return {memory, memory.get() + at, view.rows, view.cols};
}

}  // namespace

OutputView OutputView::copied() const { return empty() ? *this : moved_to(floats(count_of(*this)), 0, *this); }

void Result::own_rows() {
  if (logits.empty() && embedding.empty()) return;
  const std::shared_ptr<float[]> memory = floats(count_of(logits) + count_of(embedding));
  embedding = moved_to(memory, count_of(logits), embedding);
  logits = moved_to(memory, 0, logits);
}

}  // namespace navit_edge

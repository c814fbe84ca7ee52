#include "navit_edge/result.h"

#include <algorithm>
#include <string>
#include <utility>

#include "navit_edge/error.h"
#include "pack/map_on_image.h"

namespace navit_edge {
namespace {

std::shared_ptr<float[]> floats(std::int64_t count) {
  return std::shared_ptr<float[]>(new float[static_cast<std::size_t>(count)]);
}

/// `view` in `memory`, from `at` on; what is empty stays so.
OutputView moved_to(const std::shared_ptr<float[]>& memory, std::int64_t at, const OutputView& view) noexcept {
  if (view.empty()) return view;
  std::copy_n(view.data, view.count(), memory.get() + at);
  return {memory, memory.get() + at, view.rows, view.cols, view.layers};
}

}  // namespace

OutputView OutputView::copied() const { return empty() ? *this : moved_to(floats(count()), 0, *this); }

const OutputView& Result::output(GraphOutput kind) const noexcept {
  switch (kind) {
    case GraphOutput::kLogits:
      return logits;
    case GraphOutput::kEmbedding:
      return embedding;
    case GraphOutput::kTokens:
      return token_features;
    case GraphOutput::kProjected:
      return projected;
    case GraphOutput::kDeepstack:
      return deepstack;
    case GraphOutput::kAttentionMap:
      break;
  }
  return attention_map;
}

OutputView& Result::output(GraphOutput kind) noexcept {
  return const_cast<OutputView&>(std::as_const(*this).output(kind));
}

void Result::drop_outputs() noexcept {
  logits = embedding = token_features = projected = deepstack = attention_map = {};
}

std::vector<float> Result::on_grid(std::span<const float> values, std::int64_t cols, float fill) const {
  if (cols < 1 || static_cast<std::int64_t>(values.size()) != patches() * cols) {
    throw InvalidInput("there are " + std::to_string(values.size()) + " values for " + std::to_string(patches()) +
                       " patches of " + std::to_string(cols) +
                       " columns; expected a row for each patch that the model saw, as in token_features");
  }
  if (kept == nullptr) return {values.begin(), values.end()};
  std::vector<float> all(static_cast<std::size_t>(grid.tokens() * cols), fill);
  for (std::size_t i = 0; i < kept->size(); ++i) {
    std::copy_n(values.data() + static_cast<std::int64_t>(i) * cols, cols, all.data() + (*kept)[i] * cols);
  }
  return all;
}

std::vector<float> Result::on_image(std::span<const float> values, std::int64_t cols, const MapOptions& options) const {
  if (placement.patch_px == 0 || image.height_px == 0 || image.width_px == 0) {
    throw InvalidInput(
        "the result does not say where its image lies on the grid; expected one of an image that ran, and "
        "not unpickled from an earlier version; run the image again");
  }
  return map_on_image(*this, values, cols, options);
}

void Result::own_rows() {
  if (logits.empty() && embedding.empty()) return;
  const std::shared_ptr<float[]> memory = floats(logits.count() + embedding.count());
  embedding = moved_to(memory, logits.count(), embedding);
  logits = moved_to(memory, 0, logits);
}

void Result::own_outputs() {
  own_rows();
  std::int64_t count = 0;
  for (const OutputView* view : {&token_features, &projected, &deepstack, &attention_map}) count += view->count();
  if (count == 0 || 2 * sizeof(float) * static_cast<std::size_t>(count) >= pack_bytes) return;
  const std::shared_ptr<float[]> memory = floats(count);
  std::int64_t at = 0;
  for (OutputView* view : {&token_features, &projected, &deepstack, &attention_map}) {
    const std::int64_t taken = view->count();
    *view = moved_to(memory, at, *view);
    at += taken;
  }
}

}  // namespace navit_edge

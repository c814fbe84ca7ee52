// What a session remembers, and by what it finds it again (docs/cache.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cache/result_cache.h"
#include "cache/result_key.h"
#include "navit_edge/submit.h"
#include "session/context.h"

namespace navit_edge {

class MetricsObserver;
struct ScheduledPack;

/// Thread-safe. A session without a cache has none.
class SessionMemory {
 public:
  /// Borrows `context`.
  explicit SessionMemory(const SessionContext& context)
      : context_(&context),
        keys_(context.manifest, context.choice, context.options),
        results_(context.options.cache_bytes) {}

  /// Of an image that was checked and has its grid; reads its pixels, unless `content` says what they are.
  [[nodiscard]] ResultKey key_of(const ImageView& image, const Result& sized, const Policy& policy,
                                 const std::optional<Content>& content, int threads) const {
    const Content* const known = content ? &*content : nullptr;
    return keys_.of(image, {sized.grid, sized.kept.get()}, policy, known, context_->sizer.preprocess(), threads);
  }
  /// What is remembered of `content`, and what was noted with it.
  std::optional<Result> find(const Content& content, const Policy& policy, std::string& note);
  /// What is remembered of `options.content`, and what was noted with it, as the result of the image `id`.
  std::optional<Result> recall(const SubmitOptions& options, const Policy& policy, std::uint64_t id, std::string& note,
                               MetricsObserver& observer);
  /// The results of a pack that has ended, but for errors, and cascades that another image might run again.
  void remember(const ScheduledPack& pack) noexcept;

  [[nodiscard]] ResultCache& results() noexcept { return results_; }
  [[nodiscard]] const ResultCache& results() const noexcept { return results_; }

 private:
  const SessionContext* context_;
  KeyMaker keys_;
  ResultCache results_;
};

}  // namespace navit_edge

#include "session/session_memory.h"

#include "session/cascade.h"
#include "session/metrics_observer.h"
#include "session/scheduled_pack.h"

namespace navit_edge {

std::optional<Result> SessionMemory::find(const Content& content, const Policy& policy, std::string& note) {
  const std::optional<ResultKey> key = keys_.of(content.digest, policy);
  Result result;
  if (!key || !results_.recall(*key, result, &note)) return std::nullopt;
  return result;
}

std::optional<Result> SessionMemory::recall(const SubmitOptions& options, const Policy& policy, std::uint64_t id,
                                            std::string& note, MetricsObserver& observer) {
  std::optional<Result> result = find(*options.content, policy, note);
  if (!result) return result;
  result->id = id;
  result->tag = options.tag;
  observer.recalled(*result, options.deadline_us);
  return result;
}

void SessionMemory::remember(const ScheduledPack& pack) noexcept {
  static const std::string kNothing;
  for (const std::int32_t index : pack.plan->images) {
    const auto i = static_cast<std::size_t>(index);
    const Result& result = pack.results[i];
    if (!is_lasting(result)) continue;
    if (pack.job == nullptr) {
      results_.remember(*pack.batch.images[i]->key, result, pack.batch.images[i]->note);
    } else {
      const auto& contents = pack.job->contents;
      const bool noted = !contents.empty() && contents[i];
      results_.remember(*pack.job->keys[i], result, noted ? contents[i]->note : kNothing);
    }
  }
}

}  // namespace navit_edge

#include "cache/result_key.h"

#include "cache/pixel_digest.h"
#include "cache/tree_hash.h"

namespace navit_edge {

KeyMaker::KeyMaker(const Manifest& manifest, const EngineChoice& choice, const SessionOptions& options) {
  FieldHash hash("session");
  hash.text(manifest.sha256).text(choice.engine.id).text(choice.engine.graph);
  for (const DeviceSpec& device : choice.devices) hash.text(device.words);
  hash.number(static_cast<std::int64_t>(choice.engine.precision));
  hash.number(static_cast<std::int64_t>(choice.members.size()));
  for (const EngineSpec& member : choice.members) {
    hash.text(member.id).number(static_cast<std::int64_t>(member.options.size()));
    for (const auto& [name, value] : member.options) hash.text(name).text(value);
  }
  hash.number(options.max_tokens_per_image).number(static_cast<std::int64_t>(options.overflow));
  session_ = hash.finish();
}

ResultKey KeyMaker::of(const ImageView& image, const Part& part, const Policy& policy, const Content* content,
                       const PreprocessSpec& preprocess, int threads) const {
  if (content != nullptr) {
    if (const std::optional<ResultKey> known = of(content->digest, policy)) return *known;
  }
  FieldHash hash(content != nullptr ? "content on a grid" : "pixels on a grid");
  hash.digest(session_);
  hash.digest(content != nullptr ? content->digest : pixel_digest(image, preprocess, threads));
  const Size size = image.image_size();
  hash.number(size.height_px).number(size.width_px).number(part.grid.rows).number(part.grid.cols);
  if (policy.kind() == Policy::Kind::kCascade) hash.text(policy.to_string());  // the grid is the first pass's
  if (policy.drop_options().kind == DropKind::kBlank) hash.text("blank").number(policy.drop_options().range);
  if (part.kept != nullptr) {
    hash.text("kept").number(static_cast<std::int64_t>(part.kept->size()));
    for (const std::int32_t patch : *part.kept) hash.number(patch);
  }
  return hash.finish();
}

std::optional<ResultKey> KeyMaker::of(const ContentDigest& content, const Policy& policy) const {
  const DropKind drop = policy.drop_options().kind;
  if (policy.kind() == Policy::Kind::kLatency || drop == DropKind::kMask || drop == DropKind::kChosen) {
    return std::nullopt;
  }
  return FieldHash("content").digest(session_).digest(content).text(policy.to_string()).finish();
}

}  // namespace navit_edge

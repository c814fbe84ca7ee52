// How many tokens an image gets: latency control (docs/policies.md).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "navit_edge/cxx20.h"
#include "navit_edge/drop.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

/// Fewest patches to which a preset, a latency target or the content scale an image down, unless they say otherwise.
inline constexpr std::int32_t kLeastTokens = 64;

/// Tokens by the image's complexity (choice.h: image_complexity): `min_tokens` up to `flat`, `max_tokens` from `busy`
/// on, in proportion between.
struct ContentOptions {
  std::int32_t min_tokens = kLeastTokens;
  std::int32_t max_tokens = 0;  // 0: what the bundle's sizing rule gives
  double flat = 0.02;
  double busy = 0.12;
  friend bool operator==(const ContentOptions&, const ContentOptions&) = default;
};

/// Of a cascade: every image runs with at most `first` patches. If its score is at least `accept`, that result stands;
/// else the image runs again, with all that the sizing rule gives or at most `then`. A bundle with logits only.
struct CascadeOptions {
  std::int32_t first = 128;
  double accept = 0.8;
  CascadeScore by = CascadeScore::kProbability;
  std::int32_t then = 0;  // 0: what the bundle's sizing rule gives
  friend bool operator==(const CascadeOptions&, const CascadeOptions&) = default;
};

/// Chooses the tokens of an image: patches, prefix tokens not counted. Never more than the bundle's sizing rule gives,
/// the aspect kept. Besides, it may leave out patches of the grid that it has chosen (drop.h). A value: always valid,
/// cheap to copy.
class NAVIT_EDGE_API Policy {
 public:
  enum class Kind : std::uint8_t { kNative, kTokenCap, kFast, kBalanced, kQuality, kLatency, kContent, kCascade };

  /// What the sizing rule gives; what a default Policy is.
  static Policy native() noexcept { return {}; }
  /// At most `max_tokens`, 1 and up.
  static Policy token_cap(std::int32_t max_tokens);
  /// "quality": all that the rule gives; "balanced": half of it; "fast": a quarter; both at least kLeastTokens.
  static Policy preset(std::string_view name);
  /// The most tokens with which the image's result is predicted to be there `target_us` after it was given, what waits
  /// before it included; at least `min_tokens`, also if the target cannot be met so.
  static Policy latency(double target_us, std::int32_t min_tokens = kLeastTokens);
  static Policy content(const ContentOptions& options = {});
  static Policy cascade(const CascadeOptions& options = {});

  /// The sizing rule's grid without some patches: `native().with_drop(options)`, and so on.
  static Policy drop(const DropOptions& options) { return native().with_drop(options); }
  static Policy drop(PatchMask mask) { return native().with_drop(std::move(mask)); }
  static Policy drop(PatchChooser chooser) { return native().with_drop(std::move(chooser)); }
  /// This policy's grid without some patches; in place of what it left out before. kNone: all stay. Of the options
  /// kRandom and kBlank; kMask and kChosen are what the two others make. A cascade takes no mask: it has two grids.
  [[nodiscard]] Policy with_drop(const DropOptions& options) const;
  [[nodiscard]] Policy with_drop(PatchMask mask) const;
  [[nodiscard]] Policy with_drop(PatchChooser chooser) const;
  // The functions above throw InvalidInput for values that make no sense.

  /// "native", "token-cap:256", "fast", "balanced", "quality", "latency:20ms" (ms, us or s), "content",
  /// "cascade:128,0.8"; "latency:20ms,min_tokens=128", "content:min_tokens=64,max_tokens=1024,flat=0.02,busy=0.12",
  /// "cascade:128,0.3,by=margin,then=576"; "drop:blank", "drop:blank,range=16", "drop:random,keep=0.5,seed=1", alone or
  /// behind one of them: "fast+drop:blank". Throws InvalidInput.
  static Policy parse(std::string_view text);
  /// What `parse` takes; equal policies give equal texts. Of a mask and of a function "drop:mask" and "drop:chosen",
  /// which it does not take: no text holds them.
  [[nodiscard]] std::string to_string() const;

  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  [[nodiscard]] std::int32_t min_tokens() const noexcept { return content_.min_tokens; }  // latency, content
  [[nodiscard]] std::int32_t max_tokens() const noexcept { return content_.max_tokens; }  // token cap; content, 0: none
  [[nodiscard]] double target_us() const noexcept { return target_us_; }                  // latency
  [[nodiscard]] double flat() const noexcept { return content_.flat; }                    // content
  [[nodiscard]] double busy() const noexcept { return content_.busy; }                    // content
  [[nodiscard]] const CascadeOptions& cascade_options() const noexcept { return cascade_; }
  /// Of a cascade: what the images follow that run again, native or a token cap; drops what the first pass does.
  [[nodiscard]] Policy second_pass() const;
  [[nodiscard]] const DropOptions& drop_options() const noexcept { return drop_; }
  [[nodiscard]] bool drops() const noexcept { return drop_.kind != DropKind::kNone; }
  [[nodiscard]] const PatchMask* mask() const noexcept { return mask_.get(); }           // null: none
  [[nodiscard]] const PatchChooser* chooser() const noexcept { return chooser_.get(); }  // null: none
  /// How many tokens alone: nothing is dropped, and nothing is kept alive.
  [[nodiscard]] Policy without_drop() const;

  friend bool operator==(const Policy&, const Policy&) = default;

 private:
  Kind kind_ = Kind::kNative;
  double target_us_ = 0;
  ContentOptions content_;
  CascadeOptions cascade_;
  DropOptions drop_;
  std::shared_ptr<const PatchMask> mask_;
  std::shared_ptr<const PatchChooser> chooser_;
};

}  // namespace navit_edge

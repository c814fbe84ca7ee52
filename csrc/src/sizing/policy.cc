#include "navit_edge/policy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/text.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

using Kind = Policy::Kind;

constexpr std::array<std::pair<std::string_view, Kind>, 3> kPresets{
    {{"fast", Kind::kFast}, {"balanced", Kind::kBalanced}, {"quality", Kind::kQuality}}};
constexpr const char* kExample =
    "native, token-cap:256, fast, balanced, quality, latency:20ms, content:min_tokens=64,max_tokens=1024 or "
    "cascade:128,0.8, and behind it +drop:blank or +drop:random,keep=0.5";
constexpr std::string_view kDrop = "drop:";

void check_tokens(const char* name, std::int32_t value) {
  if (value < 1) {
    throw InvalidInput(std::string(name) + " of a policy is " + std::to_string(value) + "; expected at least 1");
  }
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "20ms" -> 20000.
std::optional<double> microseconds(std::string_view text) {
  constexpr std::array<std::pair<std::string_view, double>, 3> kUnits{{{"ms", 1e3}, {"us", 1}, {"s", 1e6}}};
  for (const auto& [unit, us] : kUnits) {
    if (!text.ends_with(unit)) continue;
    const auto value = number<double>(text.substr(0, text.size() - unit.size()));
    if (!value) return std::nullopt;
    return *value * us;
  }
  return std::nullopt;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  out += text;
  out += '"';
  return out;
}

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
  throw InvalidInput("policy " + quoted(text) + ": " + why + "; expected " + kExample);
}

/// Calls take(item) for each part between commas.
template <class Take>
void each_item(std::string_view items, Take take) {
  while (!items.empty()) {
    const std::size_t comma = items.find(',');
    take(items.substr(0, comma));
    items = comma == std::string_view::npos ? std::string_view{} : items.substr(comma + 1);
  }
}

/// "random,keep=0.5,seed=1" -> what it says.
DropOptions parse_drop(std::string_view text, std::string_view rest) {
  const std::size_t comma = rest.find(',');
  const std::string_view name = rest.substr(0, comma);
  DropOptions options;
  if (name == "random") {
    options.kind = DropKind::kRandom;
  } else if (name == "blank") {
    options.kind = DropKind::kBlank;
  } else if (name == "mask" || name == "chosen") {
    refuse(text, "a text holds no mask and no function; give them to Policy::with_drop");
  } else {
    refuse(text, quoted(name) + " is nothing to drop by, which is blank or random");
  }
  if (comma == std::string_view::npos) return options;
  each_item(rest.substr(comma + 1), [&](std::string_view item) {
    const std::size_t equals = std::min(item.find('='), item.size());
    const std::string_view field = item.substr(0, equals);
    const std::string_view value = item.substr(std::min(equals + 1, item.size()));
    const auto read = [&](bool known, auto& out) {
      const auto found = known ? number<std::remove_reference_t<decltype(out)>>(value) : std::nullopt;
      if (!found) {
        refuse(text, quoted(item) + " is no field of drop:" + std::string(name) + ", which has " +
                         (options.kind == DropKind::kRandom ? "keep=SHARE and seed=N" : "range=N"));
      }
      out = *found;
    };
    const bool random = options.kind == DropKind::kRandom;
    if (field == "keep") return read(random, options.keep);
    if (field == "seed") return read(random, options.seed);
    read(!random && field == "range", options.range);
  });
  return options;
}

/// What parse_drop takes.
std::string text_of(const DropOptions& options) {
  switch (options.kind) {
    case DropKind::kRandom:
      return "random,keep=" + shortest(options.keep) +
             (options.seed != 0 ? ",seed=" + std::to_string(options.seed) : std::string{});
    case DropKind::kBlank:
      return options.range == DropOptions{}.range ? "blank" : "blank,range=" + std::to_string(options.range);
    case DropKind::kMask:
      return "mask";
    case DropKind::kChosen:
      return "chosen";
    case DropKind::kNone:
      break;
  }
  return {};
}

Policy parse_latency(std::string_view text, std::string_view rest) {
  const std::size_t comma = rest.find(',');
  const auto target_us = microseconds(rest.substr(0, comma));
  if (!target_us) refuse(text, "latency needs a time with its unit, ms, us or s");
  std::int32_t min_tokens = kLeastTokens;
  if (comma != std::string_view::npos) {
    each_item(rest.substr(comma + 1), [&](std::string_view item) {
      constexpr std::string_view kName = "min_tokens=";
      const auto value = item.starts_with(kName) ? number<std::int32_t>(item.substr(kName.size())) : std::nullopt;
      if (!value) refuse(text, quoted(item) + " is no field of latency, which has min_tokens=N");
      min_tokens = *value;
    });
  }
  return Policy::latency(*target_us, min_tokens);
}

Policy parse_content(std::string_view text, std::string_view rest) {
  ContentOptions options;
  each_item(rest, [&](std::string_view item) {
    const std::size_t equals = item.find('=');
    const std::string_view name = item.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? std::string_view{} : item.substr(equals + 1);
    const auto read = [&](auto& out) {
      const auto found = number<std::remove_reference_t<decltype(out)>>(value);
      if (!found) refuse(text, quoted(item) + " has no number");
      out = *found;
    };
    if (name == "min_tokens") return read(options.min_tokens);
    if (name == "max_tokens") return read(options.max_tokens);
    if (name == "flat") return read(options.flat);
    if (name == "busy") return read(options.busy);
    refuse(text, quoted(name) + " is no field of content, which has min_tokens, max_tokens, flat, busy");
  });
  return Policy::content(options);
}

Policy parse_cascade(std::string_view text, std::string_view rest) {
  CascadeOptions options;
  std::size_t place = 0;
  each_item(rest, [&](std::string_view item) {
    const std::size_t equals = item.find('=');
    const bool named = equals != std::string_view::npos;
    const std::string_view name = named ? item.substr(0, equals) : place == 0 ? "first" : place == 1 ? "accept" : "";
    const std::string_view value = named ? item.substr(equals + 1) : item;
    ++place;
    const auto read = [&](auto& out) {
      const auto found = number<std::remove_reference_t<decltype(out)>>(value);
      if (!found) refuse(text, quoted(item) + " has no number");
      out = *found;
    };
    if (name == "first") return read(options.first);
    if (name == "accept") return read(options.accept);
    if (name == "then") return read(options.then);
    if (name != "by") refuse(text, quoted(item) + " is no field of cascade, which has first, accept, by, then");
    options.by = parse_word<CascadeScore>(value);
  });
  return Policy::cascade(options);
}

}  // namespace

Policy Policy::token_cap(std::int32_t max_tokens) {
  check_tokens("max_tokens", max_tokens);
  Policy policy;
  policy.kind_ = Kind::kTokenCap;
  policy.content_.max_tokens = max_tokens;
  return policy;
}

Policy Policy::preset(std::string_view name) {
  for (const auto& [known, kind] : kPresets) {
    if (name != known) continue;
    Policy policy;
    policy.kind_ = kind;
    return policy;
  }
  throw InvalidInput("unknown preset '" + std::string(name) + "' of a policy; known: fast, balanced, quality");
}

Policy Policy::latency(double target_us, std::int32_t min_tokens) {
  if (!std::isfinite(target_us) || target_us <= 0) {
    throw InvalidInput("the target of a latency policy is " + shortest(target_us / 1e3) +
                       " ms; expected a time above 0");
  }
  check_tokens("min_tokens", min_tokens);
  Policy policy;
  policy.kind_ = Kind::kLatency;
  policy.target_us_ = target_us;
  policy.content_.min_tokens = min_tokens;
  return policy;
}

Policy Policy::content(const ContentOptions& options) {
  check_tokens("min_tokens", options.min_tokens);
  if (options.max_tokens != 0 && options.max_tokens < options.min_tokens) {
    throw InvalidInput("a content policy has min_tokens " + std::to_string(options.min_tokens) + " and max_tokens " +
                       std::to_string(options.max_tokens) +
                       "; expected max_tokens to be as large, or 0 for what the sizing rule gives");
  }
  if (!(options.flat >= 0 && options.flat < options.busy && std::isfinite(options.busy))) {
    throw InvalidInput("a content policy has flat " + shortest(options.flat) + " and busy " + shortest(options.busy) +
                       "; expected complexities with 0 <= flat < busy");
  }
  Policy policy;
  policy.kind_ = Kind::kContent;
  policy.content_ = options;
  return policy;
}

Policy Policy::cascade(const CascadeOptions& options) {
  check_tokens("first", options.first);
  if (!(options.accept >= 0 && options.accept <= 1)) {
    throw InvalidInput("accept of a cascade is " + shortest(options.accept) +
                       "; expected a probability or a margin, 0 to 1");
  }
  if (options.then != 0 && options.then <= options.first) {
    throw InvalidInput("a cascade has first " + std::to_string(options.first) + " and then " +
                       std::to_string(options.then) +
                       "; expected the second pass to have more tokens, or 0 for what the sizing rule gives");
  }
  Policy policy;
  policy.kind_ = Kind::kCascade;
  policy.cascade_ = options;
  return policy;
}

Policy Policy::second_pass() const {
  return (cascade_.then == 0 ? native() : token_cap(cascade_.then)).with_drop(drop_);
}

Policy Policy::without_drop() const {
  Policy policy = *this;
  policy.drop_ = {};
  policy.mask_ = nullptr;
  policy.chooser_ = nullptr;
  return policy;
}

Policy Policy::with_drop(const DropOptions& options) const {
  if (options.kind == DropKind::kMask || options.kind == DropKind::kChosen) {
    throw InvalidInput("a policy drops by a mask or a function, and none is given; give with_drop that instead");
  }
  if (!(options.keep > 0 && options.keep <= 1)) {
    throw InvalidInput("keep of a drop is " + shortest(options.keep) +
                       "; expected the share of the patches that stays, above 0 and up to 1");
  }
  if (options.range < 0 || options.range > 255) {
    throw InvalidInput("range of a drop is " + std::to_string(options.range) +
                       "; expected a difference of 8-bit values, 0 to 255");
  }
  Policy policy = without_drop();
  policy.drop_.kind = options.kind;
  if (options.kind == DropKind::kBlank) policy.drop_.range = options.range;
  if (options.kind != DropKind::kRandom) return policy;
  policy.drop_.keep = options.keep;
  policy.drop_.seed = options.seed;
  return policy;
}

Policy Policy::with_drop(PatchMask mask) const {
  if (kind_ == Kind::kCascade) {
    throw InvalidInput(
        "a cascade runs an image on two grids, and a mask fits one; take blank or random, or no cascade");
  }
  if (mask.grid.rows < 1 || mask.grid.cols < 1 || mask.keep.size() != static_cast<std::uint64_t>(mask.grid.tokens())) {
    throw InvalidInput("a mask of " + std::to_string(mask.grid.rows) + " x " + std::to_string(mask.grid.cols) +
                       " patches has " + std::to_string(mask.keep.size()) + " values; expected one for each");
  }
  Policy policy = without_drop();
  policy.drop_.kind = DropKind::kMask;
  policy.mask_ = std::make_shared<const PatchMask>(std::move(mask));
  return policy;
}

Policy Policy::with_drop(PatchChooser chooser) const {
  if (kind_ == Kind::kCascade) {
    throw InvalidInput(
        "a cascade chooses patches for a second pass when the image is no longer the caller's, and cannot ask a "
        "function then; take blank or random, or no cascade");
  }
  if (chooser == nullptr) throw InvalidInput("a drop was given an empty function; expected one that fills the mask");
  Policy policy = without_drop();
  policy.drop_.kind = DropKind::kChosen;
  policy.chooser_ = std::make_shared<const PatchChooser>(std::move(chooser));
  return policy;
}

Policy Policy::parse(std::string_view text) {
  if (text.starts_with(kDrop)) return native().with_drop(parse_drop(text, text.substr(kDrop.size())));
  if (const std::size_t plus = text.find('+'); plus != std::string_view::npos) {
    const std::string_view behind = text.substr(plus + 1);
    if (!behind.starts_with(kDrop)) refuse(text, quoted(behind) + " cannot be combined");
    return parse(text.substr(0, plus)).with_drop(parse_drop(text, behind.substr(kDrop.size())));
  }
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const bool alone = colon == std::string_view::npos;
  const std::string_view rest = alone ? std::string_view{} : text.substr(colon + 1);
  if (name == "token-cap") {
    const auto value = number<std::int32_t>(rest);
    if (!value) refuse(text, "token-cap needs a number of tokens");
    return token_cap(*value);
  }
  if (name == "latency") return parse_latency(text, rest);
  if (name == "content") return parse_content(text, rest);
  if (name == "cascade") return parse_cascade(text, rest);
  if (alone && name == "native") return native();
  for (const auto& preset_name : kPresets) {
    if (alone && name == preset_name.first) return preset(name);
  }
  refuse(text, "unknown");
}

std::string Policy::to_string() const {
  if (drops()) {
    return (kind_ == Kind::kNative ? "" : without_drop().to_string() + "+") + std::string(kDrop) + text_of(drop_);
  }
  switch (kind_) {
    case Kind::kNative:
      return "native";
    case Kind::kTokenCap:
      return "token-cap:" + std::to_string(content_.max_tokens);
    case Kind::kFast:
      return "fast";
    case Kind::kBalanced:
      return "balanced";
    case Kind::kQuality:
      return "quality";
    case Kind::kLatency: {
      // In the unit that gives the target back to the bit.
      const std::string ms = shortest(target_us_ / 1e3);
      const bool exact = *number<double>(ms) * 1e3 == target_us_;
      std::string text = "latency:" + (exact ? ms + "ms" : shortest(target_us_) + "us");
      if (content_.min_tokens != kLeastTokens) text += ",min_tokens=" + std::to_string(content_.min_tokens);
      return text;
    }
    case Kind::kContent: {
      std::string text = "content:min_tokens=" + std::to_string(content_.min_tokens);
      if (content_.max_tokens != 0) text += ",max_tokens=" + std::to_string(content_.max_tokens);
      return text + ",flat=" + shortest(content_.flat) + ",busy=" + shortest(content_.busy);
    }
    case Kind::kCascade: {
      std::string text = "cascade:" + std::to_string(cascade_.first) + "," + shortest(cascade_.accept);
      if (cascade_.by != CascadeScore::kProbability) text += ",by=" + std::string(word_of(cascade_.by));
      if (cascade_.then != 0) text += ",then=" + std::to_string(cascade_.then);
      return text;
    }
  }
  return {};
}

}  // namespace navit_edge

#include "bundle/rule_fields.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <variant>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/sizing.h"

namespace navit_edge {
namespace {

// Up to here a double holds every integer, so that C++ and Python divide the same numbers.
constexpr std::int64_t kMostPixels = std::int64_t{1} << 53;
constexpr std::int32_t kMostMerge = 1024;

// The fields of each rule, once: for reading them, and for messages that list them.

template <class Rule, class Visit>
void fields_of(Rule& rule, const Visit& visit) {
  if constexpr (std::is_same_v<Rule, TokenCap>) {
    visit("max_tokens", rule.max_tokens);
    visit("upscale", rule.upscale);
  } else if constexpr (std::is_same_v<Rule, Native>) {
    visit("fit", rule.fit);
    visit("pad_rgb", rule.pad_rgb);
  } else if constexpr (std::is_same_v<Rule, NaFlex>) {
    visit("max_tokens", rule.max_tokens);
  } else if constexpr (std::is_same_v<Rule, SmartResize>) {
    visit("merge", rule.merge);
    visit("min_pixels", rule.min_pixels);
    visit("max_pixels", rule.max_pixels);
    visit("enlarge", rule.enlarge);
  } else if constexpr (std::is_same_v<Rule, PatchBudget>) {
    visit("merge", rule.merge);
    visit("max_tokens", rule.max_tokens);
  } else if constexpr (std::is_same_v<Rule, LongestSide>) {
    visit("longest_px", rule.longest_px);
    visit("merge", rule.merge);
  } else if constexpr (std::is_same_v<Rule, NavitResize>) {
    visit("max_tokens", rule.max_tokens);
    visit("longest_px", rule.longest_px);
    visit("merge", rule.merge);
    visit("pad_rgb", rule.pad_rgb);
  } else {
    visit("height_px", rule.height_px);
    visit("width_px", rule.width_px);
  }
}

void read(const JsonReader& json, std::int32_t& value) { value = json.int32(0); }
void read(const JsonReader& json, std::int64_t& value) { value = json.integer(0, kMostPixels); }
void read(const JsonReader& json, bool& value) { value = json.boolean(); }
void read(const JsonReader& json, Rgb& value) { value = json.colour(); }
void read(const JsonReader& json, Fit& value) { value = json.word<Fit>(); }
void read(const JsonReader& json, Enlarge& value) { value = json.word<Enlarge>(); }

// What is wrong with the fields of a rule, in words; empty if nothing is.

std::string too_small(std::string_view rule, std::string_view field, std::int64_t value) {
  if (value >= 1) return {};
  return "the sizing rule " + std::string(rule) + " needs " + std::string(field) + " of at least 1; " +
         std::string(field) + " is " + std::to_string(value);
}

std::string fault(const TokenCap& rule, std::int32_t) { return too_small("token-cap", "max_tokens", rule.max_tokens); }
std::string fault(const NaFlex& rule, std::int32_t) { return too_small("naflex", "max_tokens", rule.max_tokens); }
std::string fault(const LongestSide& rule, std::int32_t) {
  if (rule.merge < 0 || rule.merge > kMostMerge) {
    return "the sizing rule longest-side needs a merge of 0 to " + std::to_string(kMostMerge) + "; merge is " +
           std::to_string(rule.merge);
  }
  return too_small("longest-side", "longest_px", rule.longest_px);
}

std::string fault(const Native& rule, std::int32_t) {
  if (rule.fit != Fit::kResize || rule.pad_rgb == Rgb{}) return {};
  return "pad_rgb colours what fit pad or crop leaves uncovered; fit is resize; leave pad_rgb out";
}

std::string merge_fault(std::string_view rule, std::int32_t merge) {
  if (merge >= 1 && merge <= kMostMerge) return {};
  return "the sizing rule " + std::string(rule) + " needs a merge of 1 to " + std::to_string(kMostMerge) +
         "; merge is " + std::to_string(merge);
}

std::string fault(const PatchBudget& rule, std::int32_t) {
  if (std::string wrong = merge_fault("patch-budget", rule.merge); !wrong.empty()) return wrong;
  if (rule.max_tokens >= rule.merge * rule.merge) return {};
  return "the sizing rule patch-budget needs max_tokens of at least merge * merge = " +
         std::to_string(rule.merge * rule.merge) + "; max_tokens is " + std::to_string(rule.max_tokens);
}

std::string fault(const SmartResize& rule, std::int32_t) {
  if (std::string wrong = merge_fault("smart-resize", rule.merge); !wrong.empty()) return wrong;
  if (rule.min_pixels >= 1 && rule.max_pixels >= rule.min_pixels) return {};
  return "the sizing rule smart-resize needs 1 <= min_pixels <= max_pixels <= 2^53; they are " +
         std::to_string(rule.min_pixels) + " and " + std::to_string(rule.max_pixels);
}

std::string fault(const NavitResize& rule, std::int32_t) {
  if (std::string wrong = merge_fault("navit-resize", rule.merge); !wrong.empty()) return wrong;
  const std::string wrong = too_small("navit-resize", "max_tokens", rule.max_tokens);
  return wrong.empty() ? too_small("navit-resize", "longest_px", rule.longest_px) : wrong;
}

std::string fault(const Fixed& rule, std::int32_t patch_px) {
  const auto whole = [&](std::int32_t side) { return side >= patch_px && side % patch_px == 0; };
  if (whole(rule.height_px) && whole(rule.width_px)) return {};
  return "the sizing rule fixed needs height_px and width_px in multiples of the patch side " +
         std::to_string(patch_px) + "; they are " + std::to_string(rule.height_px) + " and " +
         std::to_string(rule.width_px);
}

}  // namespace

SizingRule read_sizing_rule(const JsonReader& json, std::int32_t patch_px) {
  constexpr const char* kFits = "a rule with the fields that it needs: ";
  json.only({"rule", "max_tokens", "upscale", "fit", "pad_rgb", "merge", "min_pixels", "max_pixels", "enlarge",
             "longest_px", "height_px", "width_px"});
  const std::array<SizingRule, std::variant_size_v<SizingRule>> rules{
      TokenCap{}, Native{}, NaFlex{}, SmartResize{}, LongestSide{}, Fixed{}, PatchBudget{}, NavitResize{}};
  SizingRule rule = rules[json.at("rule").word_index(kWords<SizingRule>.words)];
  std::vector<std::string_view> own;
  const auto read_own = [&](const char* name, auto& value) {
    own.emplace_back(name);
    if (json.has(name)) read(json.at(name), value);
  };
  std::visit([&](auto& one) { fields_of(one, read_own); }, rule);
  // Fields of other rules may be there if they say nothing.
  const auto read_foreign = [&](const char* name, auto& value) {
    if (!json.has(name) || std::find(own.begin(), own.end(), name) != own.end()) return;
    const auto none = value;
    read(json.at(name), value);
    if (value == none) return;
    json.fail(kFits + ("the sizing rule " + std::string(word_of(rule))) + " has no field " + name +
              "; its fields are " + list_of(own) + "; leave the others out");
  };
  for (SizingRule other : rules) std::visit([&](auto& one) { fields_of(one, read_foreign); }, other);
  const std::string wrong = std::visit([&](const auto& one) { return fault(one, patch_px); }, rule);
  if (!wrong.empty()) json.fail(kFits + wrong);
  return rule;
}

SizingSpec parse_sizing(std::string_view text, std::int32_t patch_px) {
  const JsonSource source{"sizing", "expected an object as preprocess.sizing in a manifest (docs/preprocessing.md)"};
  const JsonReader json(text, source);
  if (patch_px < 1) throw InvalidInput("patch_px is " + std::to_string(patch_px) + "; it must be at least 1");
  return {read_sizing_rule(json, patch_px), 0};
}

}  // namespace navit_edge

#include "bundle/rule_fields.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "navit_edge/error.h"
#include "navit_edge/sizing.h"

namespace navit_edge {
namespace {

constexpr std::array<std::string_view, 6> kRules{"token-cap",    "native",       "naflex",
                                                 "smart-resize", "longest-side", "fixed"};
// Up to here a double holds every integer, so that C++ and Python divide the same numbers.
constexpr std::int64_t kMostPixels = std::int64_t{1} << 53;
constexpr std::int32_t kMostMerge = 1024;

std::string rule_list() {
  std::string list;
  for (const std::string_view rule : kRules) list += (list.empty() ? "" : ", ") + std::string(rule);
  return list;
}

/// A field and whether it has another value than the default.
using Field = std::pair<const char*, bool>;

std::array<Field, 10> set_fields(const SizingSpec& sizing) {
  const SizingSpec none;
  return {{{"max_tokens", sizing.max_tokens != none.max_tokens},
           {"upscale", sizing.upscale != none.upscale},
           {"fit", sizing.fit != none.fit},
           {"pad_rgb", sizing.pad_rgb != none.pad_rgb},
           {"merge", sizing.merge != none.merge},
           {"min_pixels", sizing.min_pixels != none.min_pixels},
           {"max_pixels", sizing.max_pixels != none.max_pixels},
           {"longest_px", sizing.longest_px != none.longest_px},
           {"height_px", sizing.height_px != none.height_px},
           {"width_px", sizing.width_px != none.width_px}}};
}

std::string foreign_field(const SizingSpec& sizing, std::initializer_list<std::string_view> own) {
  for (const auto& [name, set] : set_fields(sizing)) {
    if (!set || std::find(own.begin(), own.end(), name) != own.end()) continue;
    std::string list;
    for (const std::string_view field : own) list += (list.empty() ? "" : ", ") + std::string(field);
    return "the sizing rule " + sizing.rule + " has no field " + name + "; its fields are " + list +
           "; leave the others out";
  }
  return {};
}

std::string too_small(const SizingSpec& sizing, const char* field, std::int64_t value) {
  if (value >= 1) return {};
  return "the sizing rule " + sizing.rule + " needs " + field + " of at least 1; " + field + " is " +
         std::to_string(value);
}

std::string fault_of_native(const SizingSpec& sizing) {
  if (sizing.fit != "resize" && sizing.fit != "pad" && sizing.fit != "crop") {
    return "fit is '" + sizing.fit + "'; known: resize, pad, crop";
  }
  if (sizing.fit == "resize" && sizing.pad_rgb != SizingSpec{}.pad_rgb) {
    return "pad_rgb colours what fit pad or crop leaves uncovered; fit is resize; leave pad_rgb out";
  }
  return foreign_field(sizing, {"fit", "pad_rgb"});
}

std::string fault_of_smart_resize(const SizingSpec& sizing) {
  if (sizing.merge < 1 || sizing.merge > kMostMerge) {
    return "the sizing rule smart-resize needs a merge of 1 to " + std::to_string(kMostMerge) + "; merge is " +
           std::to_string(sizing.merge);
  }
  if (sizing.min_pixels < 1 || sizing.max_pixels < sizing.min_pixels || sizing.max_pixels > kMostPixels) {
    return "the sizing rule smart-resize needs 1 <= min_pixels <= max_pixels <= 2^53; they are " +
           std::to_string(sizing.min_pixels) + " and " + std::to_string(sizing.max_pixels);
  }
  return foreign_field(sizing, {"merge", "min_pixels", "max_pixels"});
}

std::string fault_of_fixed(const SizingSpec& sizing, std::int32_t patch_px) {
  const auto whole = [&](std::int32_t side) { return side >= patch_px && side % patch_px == 0; };
  if (!whole(sizing.height_px) || !whole(sizing.width_px)) {
    return "the sizing rule fixed needs height_px and width_px in multiples of the patch side " +
           std::to_string(patch_px) + "; they are " + std::to_string(sizing.height_px) + " and " +
           std::to_string(sizing.width_px);
  }
  return foreign_field(sizing, {"height_px", "width_px"});
}

}  // namespace

std::string sizing_fault(const SizingSpec& sizing, std::int32_t patch_px) {
  if (patch_px < 1) return "patch_px is " + std::to_string(patch_px) + "; it must be at least 1";
  const std::string& rule = sizing.rule;
  std::string fault;
  if (rule == "token-cap") {
    fault = too_small(sizing, "max_tokens", sizing.max_tokens);
    return fault.empty() ? foreign_field(sizing, {"max_tokens", "upscale"}) : fault;
  }
  if (rule == "native") return fault_of_native(sizing);
  if (rule == "naflex") {
    fault = too_small(sizing, "max_tokens", sizing.max_tokens);
    return fault.empty() ? foreign_field(sizing, {"max_tokens"}) : fault;
  }
  if (rule == "smart-resize") return fault_of_smart_resize(sizing);
  if (rule == "longest-side") {
    fault = too_small(sizing, "longest_px", sizing.longest_px);
    return fault.empty() ? foreign_field(sizing, {"longest_px"}) : fault;
  }
  if (rule == "fixed") return fault_of_fixed(sizing, patch_px);
  return "unknown sizing rule '" + rule + "'; known: " + rule_list() + "; update navit-edge or export the model again";
}

SizingSpec read_sizing(const JsonReader& json, std::int32_t patch_px) {
  SizingSpec sizing;
  sizing.rule = json.at("rule").string();
  if (std::find(kRules.begin(), kRules.end(), sizing.rule) == kRules.end())
    json.at("rule").fail("one of " + rule_list());
  json.only({"rule", "max_tokens", "upscale", "fit", "pad_rgb", "merge", "min_pixels", "max_pixels", "longest_px",
             "height_px", "width_px"});
  const auto read = [&](const char* name, std::int32_t& out) {
    if (json.has(name)) out = json.at(name).int32(0);
  };
  read("max_tokens", sizing.max_tokens);
  read("merge", sizing.merge);
  read("longest_px", sizing.longest_px);
  read("height_px", sizing.height_px);
  read("width_px", sizing.width_px);
  if (json.has("min_pixels")) sizing.min_pixels = json.at("min_pixels").integer(0, kMostPixels);
  if (json.has("max_pixels")) sizing.max_pixels = json.at("max_pixels").integer(0, kMostPixels);
  if (json.has("upscale")) sizing.upscale = json.at("upscale").boolean();
  if (json.has("fit")) sizing.fit = json.at("fit").string();
  if (json.has("pad_rgb")) {
    const std::vector<JsonReader> colour = json.at("pad_rgb").array(sizing.pad_rgb.size());
    if (colour.size() != sizing.pad_rgb.size()) json.at("pad_rgb").fail("three values, red, green and blue");
    for (std::size_t c = 0; c < colour.size(); ++c) {
      sizing.pad_rgb[c] = static_cast<std::uint8_t>(colour[c].integer(0, 255));
    }
  }
  const std::string fault = sizing_fault(sizing, patch_px);
  if (!fault.empty()) json.fail("a rule with the fields that it needs: " + fault);
  return sizing;
}

SizingSpec parse_sizing(std::string_view text, std::int32_t patch_px) {
  const JsonSource source{"sizing", "expected an object as preprocess.sizing in a manifest (docs/preprocessing.md)"};
  const nlohmann::json document = parse_json(text, source);
  return read_sizing(JsonReader(document, source), patch_px);
}

}  // namespace navit_edge

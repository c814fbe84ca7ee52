#include "bundle/read_model.h"

#include <limits>

#include "bundle/manifest_fields.h"
#include "bundle/rule_fields.h"

namespace navit_edge {
namespace {

constexpr const ManifestLimits& kLimits = kManifestLimits;
constexpr std::int64_t kMostInteger = std::numeric_limits<std::int64_t>::max();

/// By the names that model configs have for it. The config is the family's own: what makes no sense is passed over.
std::int32_t mlp_width(const JsonReader& model, std::int32_t width) {
  if (model.has("config")) {
    const JsonReader config = model.at("config");
    for (const char* name : {"mlp_width", "intermediate_size"}) {
      if (!config.has(name) || !config.at(name).is_integer()) continue;
      const std::int64_t found = config.at(name).integer(std::numeric_limits<std::int64_t>::min(), kMostInteger);
      if (found >= 1 && found <= 64 * std::int64_t{kLimits.width}) return static_cast<std::int32_t>(found);
    }
  }
  return 4 * width;
}

}  // namespace

ModelSpec read_model(const JsonReader& json) {
  json.only({"family", "width", "depth", "heads", "prefix_tokens", "parameters", "token_merge", "config"});
  ModelSpec model;
  model.family = read_name(json.at("family"));
  model.width = json.at("width").int32(1, kLimits.width);
  model.depth = json.at("depth").int32(1, kLimits.layers);
  (void)json.at("heads").int32(1, kLimits.layers);
  (void)json.at("parameters").integer(0, kMostInteger);
  model.prefix_tokens = json.at("prefix_tokens").int32(0, 1024);
  if (json.has("token_merge")) model.token_merge = json.at("token_merge").int32(1, 2);
  if (json.has("config") && !json.at("config").is_object()) json.at("config").fail("an object");
  model.mlp_width = mlp_width(json, model.width);
  return model;
}

PreprocessSpec read_preprocess(const JsonReader& json) {
  json.only({"sizing", "filter", "patch_px", "channels", "mean", "std", "alpha", "background", "orientation", "icc"});
  PreprocessSpec preprocess;
  preprocess.filter = json.at("filter").word<Filter>();
  preprocess.patch_px = json.at("patch_px").int32(1, 1024);
  preprocess.channels = json.at("channels").int32(kChannels, kChannels);
  for (const char* name : {"mean", "std"}) {
    const auto values = json.at(name).array(static_cast<std::size_t>(kChannels));
    if (values.size() != static_cast<std::size_t>(kChannels)) json.at(name).fail("one number a channel");
    for (const JsonReader& value : values) (void)value.number();
  }
  preprocess.sizing.rule = read_sizing_rule(json.at("sizing"), preprocess.patch_px);
  if (json.has("alpha")) preprocess.alpha = json.at("alpha").word<Alpha>();
  if (json.has("orientation")) preprocess.orientation = json.at("orientation").word<Orientation>();
  if (json.has("icc")) preprocess.icc = json.at("icc").word<Icc>();
  if (json.has("background")) preprocess.background = json.at("background").colour();
  return preprocess;
}

}  // namespace navit_edge

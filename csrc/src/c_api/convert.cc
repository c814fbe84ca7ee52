#include "c_api/convert.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "c_api/sized.h"
#include "navit_edge/error.h"

namespace navit_edge::c_api {
namespace {

static_assert(NAVIT_EDGE_C_OK == static_cast<int>(ErrorCode::kOk));
static_assert(NAVIT_EDGE_C_INVALID_INPUT == static_cast<int>(ErrorCode::kInvalidInput));
static_assert(NAVIT_EDGE_C_OVER_BUDGET == static_cast<int>(ErrorCode::kOverBudget));
static_assert(NAVIT_EDGE_C_BUNDLE == static_cast<int>(ErrorCode::kBundle));
static_assert(NAVIT_EDGE_C_BACKEND == static_cast<int>(ErrorCode::kBackend));
static_assert(NAVIT_EDGE_C_CANCELLED == static_cast<int>(ErrorCode::kCancelled));

static_assert(NAVIT_EDGE_C_BY_CHANNELS == static_cast<int>(PixelFormat::kByChannels));
static_assert(NAVIT_EDGE_C_GRAY == static_cast<int>(PixelFormat::kGray));
static_assert(NAVIT_EDGE_C_RGB == static_cast<int>(PixelFormat::kRgb));
static_assert(NAVIT_EDGE_C_BGR == static_cast<int>(PixelFormat::kBgr));
static_assert(NAVIT_EDGE_C_RGBX == static_cast<int>(PixelFormat::kRgbx));
static_assert(NAVIT_EDGE_C_BGRX == static_cast<int>(PixelFormat::kBgrx));
static_assert(NAVIT_EDGE_C_RGBA == static_cast<int>(PixelFormat::kRgba));
static_assert(NAVIT_EDGE_C_BGRA == static_cast<int>(PixelFormat::kBgra));
static_assert(NAVIT_EDGE_C_NV12 == static_cast<int>(PixelFormat::kNv12));
static_assert(NAVIT_EDGE_C_I420 == static_cast<int>(PixelFormat::kI420));
static_assert(NAVIT_EDGE_C_BT601 == static_cast<int>(YuvMatrix::kBt601));
static_assert(NAVIT_EDGE_C_BT709 == static_cast<int>(YuvMatrix::kBt709));
static_assert(NAVIT_EDGE_C_LIMITED == static_cast<int>(YuvRange::kLimited));
static_assert(NAVIT_EDGE_C_FULL == static_cast<int>(YuvRange::kFull));

std::vector<std::filesystem::path> directories(const char* list) {
  std::vector<std::filesystem::path> out;
  for (std::string_view rest = list != nullptr ? list : ""; !rest.empty();) {
    const std::size_t end = std::min(rest.find(':'), rest.size());
    if (end > 0) out.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return out;
}

/// `value` as an enum whose last value is `last`.
template <class Enum>
Enum checked(std::int32_t value, Enum last, const char* field) {
  if (value < 0 || value > static_cast<std::int32_t>(last)) {
    throw InvalidInput("field " + std::string(field) + " of an image is " + std::to_string(value) +
                       "; expected a value of navit_edge_c.h, 0 to " + std::to_string(static_cast<std::int32_t>(last)));
  }
  return static_cast<Enum>(value);
}

}  // namespace

std::optional<Policy> policy(const char* text) {
  if (text == nullptr || *text == '\0') return std::nullopt;
  return Policy::parse(text);
}

/// That of the text, and the mask, if there is one.
template <class Options>
std::optional<Policy> policy_of(const Options& options) {
  const std::optional<Policy> named = policy(options.policy);
  if (options.keep_mask == nullptr) return named;
  const Grid grid{options.mask_rows, options.mask_cols};
  if (grid.rows < 1 || grid.cols < 1) {
    throw InvalidInput("keep_mask has " + std::to_string(grid.rows) + " x " + std::to_string(grid.cols) +
                       " patches; set mask_rows and mask_cols to the grid of the images");
  }
  return named.value_or(Policy::native())
      .with_drop(PatchMask{grid, {options.keep_mask, options.keep_mask + grid.tokens()}});
}

SessionOptions session_options(const navit_edge_c_options* given) {
  SessionOptions out;
  if (given == nullptr) return out;
  const auto options = read_sized<navit_edge_c_options>(given, "navit_edge_c_options");
  out.threads = options.threads;
  out.slots = options.slots;
  out.max_tokens_per_image = options.max_tokens_per_image;
  if (options.device != nullptr) out.device = parse_word_or_auto<DeviceKind>(options.device);
  for (std::string_view rest = options.devices != nullptr ? options.devices : ""; !rest.empty();) {
    const std::size_t end = std::min(rest.find(';'), rest.size());
    out.devices.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (options.engine != nullptr) out.engine = options.engine;
  if (options.precision != nullptr) out.precision = parse_word_or_auto<Precision>(options.precision);
  if (options.strategy != nullptr) out.strategy = parse_word<Strategy>(options.strategy);
  if (options.overflow != nullptr) out.overflow = parse_word<Overflow>(options.overflow);
  if (const auto chosen = policy(options.policy)) out.policy = *chosen;
  out.search.explicit_dirs = directories(options.backend_dirs);
  out.search.vendor_dirs = directories(options.vendor_dirs);
  if (options.backend_count > 0) require(options.backend, "backend of the options");
  for (std::size_t i = 0; i < options.backend_count; ++i) {
    require(options.backend[i].key, "the key of a backend option");
    require(options.backend[i].value, "the value of a backend option");
    out.backend[options.backend[i].key] = options.backend[i].value;
  }
  if (options.queue_limit > 0) out.queue_limit = options.queue_limit;
  if (options.queue_bytes > 0) out.queue_bytes = options.queue_bytes < UINT64_MAX ? options.queue_bytes : 0;
  out.decoders = options.decoders;
  if (options.decode_bytes > 0) out.decode_bytes = options.decode_bytes < UINT64_MAX ? options.decode_bytes : 0;
  if (options.decode != nullptr) out.decode = parse_word<Decode>(options.decode);
  out.cache_bytes = options.cache_bytes;
  out.max_memory_bytes = options.max_memory_bytes;
  if (options.aging_us != 0) out.aging_us = options.aging_us < 0 ? 0 : options.aging_us;
  out.batch_wait_us = options.batch_wait_us;
  if (options.stall_timeout_s != 0) out.stall_timeout_s = options.stall_timeout_s < 0 ? 0 : options.stall_timeout_s;
  return out;
}

ImageView image_view(const navit_edge_c_image* given) {
  require(given, "image");
  const auto image = read_sized<navit_edge_c_image>(given, "navit_edge_c_image");
  ImageView view;
  view.data = image.data;
  view.height_px = image.height_px;
  view.width_px = image.width_px;
  view.format = checked(image.format, PixelFormat::kI420, "format");
  view.channels = image.channels != 0 ? image.channels : channels_of(view.format);
  view.row_stride_bytes = image.row_stride_bytes;
  for (int i = 0; i < 2; ++i) {
    view.planes[i] = image.planes[i];
    view.plane_stride_bytes[i] = image.plane_stride_bytes[i];
  }
  view.matrix = checked(image.matrix, YuvMatrix::kBt709, "matrix");
  view.range = checked(image.range, YuvRange::kFull, "range");
  return view;
}

namespace {

/// The caller's bytes, and what releases them; a path has nothing to keep but is released in the same way.
class OfPath final : public ImageSource {
 public:
  OfPath(const char* path, std::shared_ptr<const void> owner) : owner_(std::move(owner)), file_(file_source(path)) {}
  std::uint64_t open(const DecodeTarget& target) override { return file_->open(target); }
  OwnedImage decode() override { return file_->decode(); }

 private:
  std::shared_ptr<const void> owner_;
  std::shared_ptr<ImageSource> file_;
};

}  // namespace

std::shared_ptr<ImageSource> image_source(const navit_edge_c_file* given, std::shared_ptr<const void> owner) {
  require(given, "file");
  const auto file = read_sized<navit_edge_c_file>(given, "navit_edge_c_file");
  if ((file.path != nullptr) == (file.data != nullptr)) {
    throw InvalidInput(std::string("a file has ") +
                       (file.path != nullptr ? "both a path and data" : "no path and no data") +
                       "; expected one of them");
  }
  if (file.path != nullptr) return std::make_shared<OfPath>(file.path, std::move(owner));
  return file_source({file.data, static_cast<std::size_t>(file.size)}, std::move(owner));
}

std::vector<ImageView> image_views(const navit_edge_c_image* given, std::size_t count) {
  std::vector<ImageView> views;
  if (count == 0) return views;
  require(given, "images");
  const std::size_t apart = struct_size(given, "navit_edge_c_image");
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  views.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto* image = reinterpret_cast<const navit_edge_c_image*>(bytes + i * apart);
    if (struct_size(image, "navit_edge_c_image") != apart) {
      throw InvalidInput("struct_size of image " + std::to_string(i) + " differs from that of image 0, " +
                         std::to_string(apart) + "; set it in every image of an array");
    }
    views.push_back(image_view(image));
  }
  return views;
}

RunOptions run_options(const navit_edge_c_run_options* given) {
  RunOptions out;
  if (given == nullptr) return out;
  const auto options = read_sized<navit_edge_c_run_options>(given, "navit_edge_c_run_options");
  out.policy = policy_of(options);
  out.spent_us = options.spent_us;
  if (options.progress != nullptr) {
    out.progress = [progress = options.progress, user = options.user](std::size_t done, std::size_t total) {
      progress(user, done, total);
    };
  }
  return out;
}

SubmitOptions submit_options(const navit_edge_c_submit_options* given, bool& no_wait, WaitOptions& wait) {
  SubmitOptions out;
  no_wait = false;
  if (given == nullptr) return out;
  const auto options = read_sized<navit_edge_c_submit_options>(given, "navit_edge_c_submit_options");
  out.deadline_us = options.deadline_us;
  out.priority = options.priority;
  out.tag = options.tag;
  out.spent_us = options.spent_us;
  out.policy = policy_of(options);
  no_wait = options.no_wait != 0;
  if (no_wait) wait.timeout_us = options.wait_us;
  return out;
}

MapOptions map_options(const navit_edge_c_map_options* given) {
  MapOptions map;
  if (given == nullptr) return map;
  const auto options = read_sized<navit_edge_c_map_options>(given, "navit_edge_c_map_options");
  if (options.nearest != 0) map.filter = Filter::kNearest;
  if (options.filled != 0) map.fill = options.fill;
  map.size = {options.height_px, options.width_px};
  return map;
}

std::span<const float> map_values(const float* values, std::int64_t rows, std::int64_t cols) {
  require(values, "values");
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(sizeof(float));
  if (rows < 1 || cols < 1 || rows > kMost / cols) {
    throw InvalidInput("values are [" + std::to_string(rows) + ", " + std::to_string(cols) +
                       "]; expected a row for each patch that the model saw, of at least one value");
  }
  return {values, static_cast<std::size_t>(rows * cols)};
}

Texts texts_of(const Result& result) noexcept {
  Texts texts;
  try {
    if (result.error == nullptr) {
      texts.reason = result.reason.to_string();
      return texts;
    }
    texts.code = NAVIT_EDGE_C_BACKEND;
    try {
      std::rethrow_exception(result.error);
    } catch (const Error& e) {
      texts.code = static_cast<std::int32_t>(e.code());
      texts.message = e.what();
    } catch (const std::exception& e) {
      texts.message = e.what();
    }
  } catch (...) {  // no exception of the standard library, or no memory
  }
  return texts;
}

std::string describe(const Session& session) {
  using nlohmann::json;
  const Manifest& manifest = session.manifest();
  const EngineSpec& engine = session.engine();
  json out;
  out["version"] = navit_edge_c_version();
  out["bundle"] = manifest.name;
  out["engine"] = engine.id;
  out["precision"] = engine.precision;
  out["device"] = session.device();
  out["slots"] = session.slots();
  out["threads"] = session.threads();
  out["model"] = {{"family", manifest.model.family},
                  {"width", manifest.model.width},
                  {"depth", manifest.model.depth},
                  {"prefix_tokens", manifest.model.prefix_tokens},
                  {"patch_px", manifest.preprocess.patch_px}};
  out["outputs"] = json::object();
  for (const TensorSpec& output : manifest.graph(engine.graph).outputs) {
    if (!output.shape.empty()) out["outputs"][output.name] = output.shape.back().extent;
  }
  out["budgets"] = json::array();
  for (const Budget& budget : engine.budgets) {
    out["budgets"].push_back({{"tokens", budget.tokens}, {"images", budget.images}});
  }
  out["labels"] = manifest.labels;
  out["scores"] = word_of(manifest.scores);
  out["candidates"] = json::array();
  for (const Candidate& one : session.candidates()) {
    out["candidates"].push_back({{"engine", one.engine}, {"usable", one.usable}, {"detail", one.detail}});
  }
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string prometheus(const Session& session) { return to_prometheus(session.metrics(), session.metric_labels()); }

}  // namespace navit_edge::c_api

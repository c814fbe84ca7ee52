#include "navit_edge/text_encoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <mutex>
#include <utility>

#include "engine/engine_choice.h"
#include "navit_edge/error.h"

namespace navit_edge {
namespace {

constexpr std::size_t kBatch = 32;  // texts of one pass: more take memory and no less time each
constexpr const char* kIds = "input_ids";
constexpr const char* kMask = "attention_mask";

/// [N, extent]
bool is_matrix(const TensorSpec& tensor, DType dtype) {
  return tensor.dtype == dtype && tensor.shape.size() == 2 && tensor.shape[0].symbol == 'N' &&
         tensor.shape[1].symbol == '\0' && tensor.shape[1].extent > 0;
}

/// Throws BundleError for a graph of texts that this version cannot feed.
void check_graph(const TextSpec& text, const std::string& bundle) {
  const auto& in = text.inputs;
  const bool named = in[0].name == kIds && (in.size() == 1 || (in.size() == 2 && in[1].name == kMask));
  const bool shaped = std::all_of(in.begin(), in.end(), [&](const TensorSpec& tensor) {
    return is_matrix(tensor, DType::kInt32) && tensor.shape[1].extent == in[0].shape[1].extent;
  });
  const bool gives =
      text.outputs.size() == 1 && text.outputs[0].name == "embedding" && is_matrix(text.outputs[0], DType::kFloat32);
  if (named && shaped && gives) return;
  throw BundleError("the text graph of " + bundle +
                    " has inputs and outputs that this version cannot use; expected input_ids [N, tokens], "
                    "attention_mask or not, and embedding [N, D]; export the model again");
}

/// The bundle as if texts were all it had: what engines are chosen and opened by.
Manifest of_texts(const std::filesystem::path& bundle) {
  Manifest manifest = Manifest::load(bundle);
  if (!manifest.text) {
    throw BundleError(bundle.string() +
                      " has no text tower; expected a bundle of a family with texts, as siglip2, exported with --text; "
                      "export it again: navit-edge export --checkpoint FOLDER --text -o NAME.navit");
  }
  check_graph(*manifest.text, bundle.string());
  GraphSpec graph;
  graph.id = "text";
  graph.file = manifest.text->file;
  graph.inputs = manifest.text->inputs;
  graph.outputs = manifest.text->outputs;
  manifest.graphs = {std::move(graph)};
  manifest.engines = manifest.text->engines;
  if (manifest.engines.empty()) {
    throw BackendError("the bundle " + bundle.string() + " has no engine for its texts; build one with `navit-edge " +
                       "build-engine " + bundle.string() + " --backend openvino`");
  }
  return manifest;
}

EngineChoice chosen(const Manifest& manifest, const TextEncoderOptions& options) {
  SessionOptions wanted;
  wanted.device = options.device;
  wanted.engine = options.engine;
  wanted.search = options.search;
  wanted.backend = options.backend;
  return choose_engine(manifest, wanted);
}

EngineOptions opened(const TextEncoderOptions& options) {
  EngineOptions wanted;
  wanted.threads = options.threads;
  return wanted;
}

/// Divides each row of [n, width] by its length. Throws InvalidInput if one has none.
void to_unit(std::span<float> rows, std::size_t width, const char* what) {
  for (std::size_t start = 0; start < rows.size(); start += width) {
    const std::span<float> row = rows.subspan(start, width);
    double squares = 0;
    for (const float value : row) squares += static_cast<double>(value) * value;
    const double length = std::sqrt(squares);
    if (!std::isfinite(length) || length == 0) {
      throw InvalidInput("row " + std::to_string(start / width) + " of " + what + " has the length " +
                         std::to_string(length) + "; expected one above 0");
    }
    for (float& value : row) value = static_cast<float>(value / length);
  }
}

std::vector<float> unit_rows(std::span<const float> values, std::size_t width, const char* what) {
  if (values.empty() || values.size() % width != 0) {
    throw InvalidInput(std::string(what) + " have " + std::to_string(values.size()) + " numbers; expected rows of " +
                       std::to_string(width));
  }
  std::vector<float> rows(values.begin(), values.end());
  to_unit(rows, width, what);
  return rows;
}

}  // namespace

struct TextEncoder::Impl {
  Impl(const std::filesystem::path& bundle, const TextEncoderOptions& options)
      : manifest(of_texts(bundle)),
        choice(chosen(manifest, options)),
        engine(*choice.backend, manifest, choice.members.front(), opened(options)),
        tokens(static_cast<std::size_t>(text().inputs[0].shape[1].extent)),
        width(static_cast<std::size_t>(text().outputs[0].shape[1].extent)) {
    for (const TensorSpec& spec : text().inputs) inputs.emplace_back(spec.name, spec.dtype);
    outputs.emplace_back(text().outputs[0].name, text().outputs[0].dtype);
  }

  [[nodiscard]] const TextSpec& text() const { return *manifest.text; }

  /// Some texts, at most kBatch. With the mutex.
  void run(std::span<const std::int32_t> ids, std::span<const std::int32_t> mask, std::span<float> out) {
    const auto count = static_cast<std::int64_t>(ids.size() / tokens);
    for (HostTensor& tensor : inputs) {
      tensor.resize(std::array{count, static_cast<std::int64_t>(tokens)});
      const std::span<const std::int32_t> given = tensor.name() == kIds ? ids : mask;
      std::memcpy(tensor.data(), given.data(), given.size_bytes());
    }
    outputs[0].resize(std::array{count, static_cast<std::int64_t>(width)});
    engine.run(0, inputs, outputs);
    std::memcpy(out.data(), outputs[0].data(), out.size_bytes());
  }

  Manifest manifest;
  EngineChoice choice;
  Engine engine;
  std::size_t tokens;
  std::size_t width;
  std::mutex mutex;  // of what follows, and the engine's one slot
  std::vector<HostTensor> inputs;
  std::vector<HostTensor> outputs;
};

TextEncoder::TextEncoder(const std::filesystem::path& bundle, const TextEncoderOptions& options)
    : impl_(std::make_unique<Impl>(bundle, options)) {}
TextEncoder::~TextEncoder() = default;
TextEncoder::TextEncoder(TextEncoder&&) noexcept = default;
TextEncoder& TextEncoder::operator=(TextEncoder&&) noexcept = default;

std::int64_t TextEncoder::tokens() const noexcept { return static_cast<std::int64_t>(impl_->tokens); }
std::int64_t TextEncoder::width() const noexcept { return static_cast<std::int64_t>(impl_->width); }
bool TextEncoder::masks_padding() const noexcept { return impl_->inputs.size() > 1; }
double TextEncoder::logit_scale() const noexcept { return impl_->text().logit_scale; }
double TextEncoder::logit_bias() const noexcept { return impl_->text().logit_bias; }
std::filesystem::path TextEncoder::tokenizer() const { return impl_->manifest.bundle / impl_->text().tokenizer; }
std::string TextEncoder::engine() const { return impl_->choice.engine.id; }

std::vector<float> TextEncoder::embed(std::span<const std::int32_t> ids, std::span<const std::int32_t> mask) {
  const std::size_t tokens = impl_->tokens;
  if (ids.empty() || ids.size() % tokens != 0) {
    throw InvalidInput("there are " + std::to_string(ids.size()) + " ids; expected texts of " + std::to_string(tokens) +
                       " each, as tokenizer.json pads and cuts them");
  }
  if (mask.size() != ids.size() && (masks_padding() || !mask.empty())) {
    throw InvalidInput("the mask has " + std::to_string(mask.size()) + " numbers; expected " +
                       std::to_string(ids.size()) + ", one for each id");
  }
  std::vector<float> embeddings(ids.size() / tokens * impl_->width);
  const std::lock_guard lock(impl_->mutex);
  for (std::size_t start = 0; start < ids.size(); start += kBatch * tokens) {
    const std::size_t count = std::min(kBatch * tokens, ids.size() - start);
    const std::span<float> out(embeddings.data() + start / tokens * impl_->width, count / tokens * impl_->width);
    impl_->run(ids.subspan(start, count), mask.empty() ? mask : mask.subspan(start, count), out);
  }
  to_unit(embeddings, impl_->width, "the embeddings of texts");
  return embeddings;
}

std::vector<float> TextEncoder::logits(std::span<const float> images, std::span<const float> texts) const {
  const std::size_t width = impl_->width;
  const std::vector<float> left = unit_rows(images, width, "the embeddings of images");
  const std::vector<float> right = unit_rows(texts, width, "the embeddings of texts");
  std::vector<float> logits;
  logits.reserve(left.size() / width * (right.size() / width));
  for (std::size_t image = 0; image < left.size(); image += width) {
    for (std::size_t text = 0; text < right.size(); text += width) {
      double cosine = 0;
      for (std::size_t k = 0; k < width; ++k) cosine += static_cast<double>(left[image + k]) * right[text + k];
      logits.push_back(static_cast<float>(logit_scale() * cosine + logit_bias()));
    }
  }
  return logits;
}

}  // namespace navit_edge

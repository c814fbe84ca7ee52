// The text tower of a bundle: the ids of texts in, embeddings in the space of the images' embeddings out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "navit_edge/engine.h"
#include "navit_edge/manifest.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

struct TextEncoderOptions {
  std::optional<DeviceKind> device;  // none: any, accelerators first
  std::string engine;                // id of an engine for texts; empty: the first that can run on `device`
  int threads = 0;                   // 0: all cores that this process can keep busy (cores.h)
  BackendSearch search;
  std::map<std::string, std::string> backend;  // options for the backend
};

/// Embeds texts by an engine that `navit-edge build-engine` made of the bundle's text graph (docs/zero-shot.md). It
/// takes ids: any program that reads `tokenizer()` with the tokenizers library gets the right ones. Every function may
/// be called from any thread; they take turns.
class NAVIT_EDGE_API TextEncoder {
 public:
  /// Throws BundleError if the bundle has no text tower or was altered, BackendError if it has no engine for texts that
  /// can run here.
  explicit TextEncoder(const std::filesystem::path& bundle, const TextEncoderOptions& options = {});
  ~TextEncoder();
  /// An encoder that was moved from may be destroyed and assigned to, nothing else.
  TextEncoder(TextEncoder&&) noexcept;
  TextEncoder& operator=(TextEncoder&&) noexcept;

  [[nodiscard]] std::int64_t tokens() const noexcept;  // of every text: shorter ones are padded, longer ones cut
  [[nodiscard]] std::int64_t width() const noexcept;   // D of an embedding
  [[nodiscard]] bool masks_padding() const noexcept;   // whether `embed` needs a mask
  [[nodiscard]] double logit_scale() const noexcept;   // of an image and a text: logit = scale * cosine + bias
  [[nodiscard]] double logit_bias() const noexcept;
  [[nodiscard]] std::filesystem::path tokenizer() const;  // tokenizer.json, which pads and cuts texts to `tokens`
  [[nodiscard]] std::string engine() const;               // what runs

  /// ids, mask: [texts * tokens()], row-major, as tokenizer.json gives them; the mask is 0 where a text is padded, and
  /// may be empty if the model does not mask padding. Returns [texts * width()], each of length 1. Throws InvalidInput
  /// for other lengths, BackendError.
  std::vector<float> embed(std::span<const std::int32_t> ids, std::span<const std::int32_t> mask = {});

  /// Embeddings of images [images * width()] and of texts [texts * width()], each of any length -> [images * texts]
  /// logits, row-major. The sigmoid of one is the probability that the text goes with the image. Throws InvalidInput
  /// for another length, or an embedding that has none.
  [[nodiscard]] std::vector<float> logits(std::span<const float> images, std::span<const float> texts) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace navit_edge

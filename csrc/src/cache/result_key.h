// By what a result is found again: everything that decides its numbers.
#pragma once

#include <optional>

#include "engine/engine_choice.h"
#include "navit_edge/content.h"
#include "navit_edge/image.h"
#include "navit_edge/manifest.h"
#include "navit_edge/policy.h"
#include "navit_edge/session_options.h"
#include "navit_edge/types.h"

namespace navit_edge {

using ResultKey = ContentDigest;

/// Makes the keys of one session. Thread-safe: nothing changes after construction.
class KeyMaker {
 public:
  /// What all images of a session share: the bundle's manifest with the hashes of all its files (preprocessing, graph,
  /// outputs, weights), the engine, its precision, the backend's options, the caller's cap and what overflows do.
  KeyMaker(const Manifest& manifest, const EngineChoice& choice, const SessionOptions& options);

  /// The part of an image that runs.
  struct Part {
    Grid grid;
    const KeptPatches* kept = nullptr;  // null: all of it, but for what turns out to be blank
  };

  /// Of an image that runs as `part` says. `threads` hash its pixels, unless `content` says what they are.
  [[nodiscard]] ResultKey of(const ImageView& image, const Part& part, const Policy& policy, const Content* content,
                             const PreprocessSpec& preprocess, int threads) const;

  /// Of what `content` says, before there are pixels: the same as of the image under this policy. None of a latency
  /// target, with which the grid depends on more than the image, nor of a mask or a function that no text names.
  [[nodiscard]] std::optional<ResultKey> of(const ContentDigest& content, const Policy& policy) const;

 private:
  ContentDigest session_;
};

}  // namespace navit_edge

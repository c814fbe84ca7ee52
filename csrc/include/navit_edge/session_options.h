// How a session is opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "navit_edge/engine.h"
#include "navit_edge/policy.h"
#include "navit_edge/vocabulary.h"

namespace navit_edge {

struct SessionOptions {
  std::optional<DeviceKind> device;  // none: any, accelerators first
  /// Several of a kind, each with engines of its own: GPUs by their numbers ("0", "gpu:1"), cores of a CPU
  /// ("cpu:0-3"), NUMA nodes ("numa:0"). Empty: one, which the backend chooses (docs/runtime.md).
  std::vector<std::string> devices;
  std::string engine;                  // id of an engine or a group; empty: the first that can run on `device`
  std::optional<Precision> precision;  // none: any
  int threads = 0;                     // 0: all cores that this process can keep busy (cores.h)
  /// Packs in flight at once. An engine that cannot open so many is an error. 0: for engines of fixed tokens on an
  /// accelerator two, or one if two do not open; on a CPU one with all cores, and two while two packs wait.
  int slots = 0;
  std::int32_t max_tokens_per_image = 0;  // most patches of an image (sizing.h: capped); 0: as the bundle says
  Strategy strategy = Strategy::kAuto;    // which images share a pack
  Overflow overflow = Overflow::kError;   // what becomes of an image that is longer than every budget
  BackendSearch search;
  std::map<std::string, std::string> backend;  // options for the backend
  Policy policy;                               // of images that name none

  std::size_t queue_limit = 1024;  // submitted images of the lowest priority that may wait at once (docs/runtime.md)
  std::uint64_t queue_bytes = std::uint64_t{1} << 30;  // of their pixels, in the same way; 0: as many as there are
  /// What has waited for longer, an image or a run, gets at least every fourth pack, whatever its priority.
  double aging_us = 1e6;
  /// How long an idle engine waits for more images after the oldest waiting one came, so that they share a pack. 0: not
  /// at all. Never past a deadline, and never once a pack is full. A busy engine makes them wait anyway.
  double batch_wait_us = 0;
  /// Threads that decode submitted image files (image_source.h), 1 to 256. 0: as many as `threads`; half of them where
  /// the engine computes on the same cores.
  int decoders = 0;
  /// Most bytes of pixels that they hold, from before they are decoded until a pack has read them. One image is always
  /// let in. 0: no limit.
  std::uint64_t decode_bytes = std::uint64_t{256} << 20;
  std::optional<Decode> decode;  // of what they decode; none: as the bundle says
  /// Results are remembered, and an image whose pixels were seen before gets them again, as long as they take no more
  /// than so many bytes (docs/cache.md). 0: none are.
  std::uint64_t cache_bytes = 0;
  /// The whole process stays under so many bytes, as far as can be predicted: engine, slots and caches are chosen so
  /// that they fit, and the session does not open if they cannot (docs/memory.md). Of host memory. 0: no limit.
  std::uint64_t max_memory_bytes = 0;
  /// A pack that the engine holds for longer is given up, and the session with it (docs/runtime.md). 0: never.
  double stall_timeout_s = 60;
};

}  // namespace navit_edge

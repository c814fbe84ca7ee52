// Once a session is open, packs go through it without an allocation: counted over the whole program, on all threads.
#include <array>
#include <cstdio>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/thread_pool.h"
#include "engine/engine_set.h"
#include "navit_edge/memory.h"
#include "navit_edge/pack_writer.h"
#include "navit_edge/plan.h"
#include "pack/scratch.h"
#include "support/check.h"
#include "support/counting_allocator.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

/// Pixels that all pictures of a test look into: as large as memory is set aside for.
const std::vector<std::uint8_t>& some_pixels() {
  static const std::vector<std::uint8_t> pixels = [] {
    std::vector<std::uint8_t> made(std::size_t{kReservedSidePx} * kReservedSidePx * 4);
    for (std::size_t i = 0; i < made.size(); ++i) made[i] = static_cast<std::uint8_t>(i * 2654435761U >> 13);
    return made;
  }();
  return pixels;
}

ImageView picture(std::int32_t height, std::int32_t width, PixelFormat format = PixelFormat::kRgb) {
  ImageView view;
  view.data = some_pixels().data();
  view.height_px = height;
  view.width_px = width;
  view.format = format;
  const bool planar = format == PixelFormat::kNv12 || format == PixelFormat::kI420;
  view.channels = format == PixelFormat::kGray || planar                       ? 1
                  : format == PixelFormat::kRgb || format == PixelFormat::kBgr ? 3
                                                                               : 4;
  if (planar) view.planes[0] = view.planes[1] = some_pixels().data();
  return view;
}

/// A bundle of the fake backend with patches of 16 pixels, opened as a session opens it.
struct Opened {
  explicit Opened(int threads = 1, int slots = 1, std::int32_t budget_tokens = 256, const char* filter = "bilinear",
                  const char* fit = "resize") {
    bundle.json["preprocess"]["patch_px"] = 16;
    bundle.json["preprocess"]["filter"] = filter;
    bundle.json["preprocess"]["sizing"] = {{"rule", "token-cap"}, {"max_tokens", budget_tokens}};
    if (std::string(fit) != "resize") bundle.json["preprocess"]["sizing"] = {{"rule", "native"}, {"fit", fit}};
    bundle.json["graphs"][0]["inputs"][0]["shape"] = {"T", 768};
    bundle.json["engines"][0]["budgets"] = {
        {{"tokens", budget_tokens}, {"images", 16}, {"target_tokens", budget_tokens}}};
    manifest = Manifest::load(bundle.write());
    session_options = options(threads);
    choice = choose_engine(manifest, session_options);
    writer.emplace(PackSpec{manifest.preprocess, manifest.model, manifest.graphs.front(), choice.engine.budgets, true});
    const std::int64_t before = counting::live_bytes();
    engines.emplace(manifest, choice, session_options, slots);
    set_bytes = counting::live_bytes() - before - slots * (1 << 18);  // the fake engine's own
  }

  Pack& write(const ImageView& view, int slot = 0, int threads = 1) {
    const std::array<Grid, 1> grids{resize_target(view.size(), manifest.preprocess)};
    Pack& pack = engines->pack(0, slot);
    writer->write_checked(one_image, {&view, 1}, grids, threads, pack);
    return pack;
  }

  /// One picture through all stages.
  void run(const ImageView& view, std::vector<Result>& results, int slot = 0, int threads = 1) {
    Pack& pack = write(view, slot, threads);
    const OutputLease outputs = engines->outputs(pack);
    engines->run(0, slot, outputs.tensors());
    unpack(pack, outputs.shared(), manifest.model, results);
  }

  TestBundle bundle;
  Manifest manifest;
  SessionOptions session_options;
  EngineChoice choice;
  std::optional<PackWriter> writer;
  std::optional<EngineSet> engines;
  std::int64_t set_bytes = 0;
  const PackPlan one_image{{0}};
};

/// Allocations of `body`; where there are any, the first of them are printed on stderr.
template <class Body>
std::int64_t allocations_of(Body&& body) {
  const counting::Tracing tracing;
  const std::int64_t before = counting::allocations();
  body();
  return counting::allocations() - before;
}

constexpr std::array kFormats{PixelFormat::kRgb,  PixelFormat::kGray, PixelFormat::kBgr,
                              PixelFormat::kRgba, PixelFormat::kNv12, PixelFormat::kI420};

}  // namespace

TEST_CASE("what is counted: every allocation of the program, on every thread") {
  std::int64_t counted = 0;
  const std::int64_t before = counting::allocations();
  std::thread([&] {
    const std::int64_t start = counting::allocations();
    ::operator delete(::operator new(100));  // called by name, they are not left out
    ::operator delete(::operator new(1));
    counted = counting::allocations() - start;
  }).join();
  CHECK(counted == 2);
  CHECK(counting::allocations() - before >= 2);
  if (!counting::counts_bytes()) return;
  const std::int64_t live = counting::live_bytes();
  HostTensor tensor("tensor", DType::kUInt8);
  tensor.resize(std::array<std::int64_t, 1>{1 << 20});
  CHECK(counting::live_bytes() - live >= 1 << 20);
  CHECK(counting::live_bytes() - live < (1 << 20) + 8192);
}

TEST_CASE("from the first pack on, no photograph of up to 4096 px a side and no format makes packing allocate") {
  for (const char* filter : {"nearest", "bilinear", "lanczos"}) {
    for (const std::int32_t tokens : {64, 1024}) {
      Opened opened(1, 1, tokens, filter);
      some_pixels();
      const std::int64_t counted = allocations_of([&] {
        for (const Size size : {Size{4096, 4096}, Size{1024, 4096}, Size{4096, 1024}, Size{4096, 2047}, Size{37, 53},
                                Size{2047, 4096}, Size{16, 16}, Size{3000, 4000}}) {
          opened.write(picture(size.height_px, size.width_px));
        }
        for (const PixelFormat format : kFormats) opened.write(picture(1080, 1920, format));
        std::mt19937 random(7);
        for (int i = 0; i < 60; ++i) {
          const auto longer = static_cast<std::int32_t>(16 + random() % (i % 10 == 0 ? 4080 : 1000));
          const auto shorter = static_cast<std::int32_t>(
              longer / 4 + 1 + static_cast<std::int32_t>(random() % static_cast<unsigned>(longer * 3 / 4)));
          opened.write(i % 2 == 0 ? picture(longer, shorter) : picture(shorter, longer));
        }
      });
      CHECK(counted == 0);
    }
  }
}

TEST_CASE("nor do the engine's run and the results") {
  Opened opened;
  std::vector<Result> results(1);
  opened.run(picture(512, 512), results);  // the largest: the fake engine's own memory grows with it
  const std::int64_t counted = allocations_of([&] {
    for (int round = 0; round < 3; ++round) {
      for (const Size size : {Size{480, 640}, Size{16, 16}, Size{300, 200}}) {
        opened.run(picture(size.height_px, size.width_px), results);
      }
    }
  });
  CHECK(counted == 0);
}

TEST_CASE("images that are padded or cropped allocate nothing either") {
  for (const char* fit : {"pad", "crop"}) {
    Opened opened(1, 1, 512, "bilinear", fit);
    std::vector<Result> results(1);
    opened.run(picture(352, 352), results);
    const std::int64_t counted = allocations_of([&] {
      for (const PixelFormat format : kFormats) {
        for (const Size size : {Size{100, 300}, Size{17, 16}, Size{350, 350}, Size{33, 480}}) {
          opened.run(picture(size.height_px, size.width_px, format), results);
        }
      }
    });
    CHECK(counted == 0);
  }
}

TEST_CASE("several threads that write a pack allocate nothing once they run") {
  Opened opened(4);
  std::vector<Result> results(1);
  opened.run(picture(1000, 1000), results, 0, 4);  // starts the workers
  const std::int64_t counted = allocations_of([&] {
    for (int round = 0; round < 20; ++round) {
      for (const Size size : {Size{3000, 4000}, Size{700, 900}, Size{4096, 2047}}) {
        opened.run(picture(size.height_px, size.width_px), results, 0, 4);
      }
    }
  });
  CHECK(counted == 0);
}

TEST_CASE("slots side by side allocate nothing") {
  Opened opened(2, 2);
  std::array<std::vector<Result>, 2> results{std::vector<Result>(1), std::vector<Result>(1)};
  const auto round = [&] {
    parallel_for(2, 2, [&](std::size_t slot) { opened.run(picture(480, 640), results[slot], static_cast<int>(slot)); });
  };
  round();
  for (int slot = 0; slot < 2; ++slot) opened.run(picture(480, 640), results[static_cast<std::size_t>(slot)], slot);
  CHECK(allocations_of([&] {
          for (int i = 0; i < 50; ++i) round();
        }) == 0);
}

TEST_CASE("a larger picture than memory was set aside for is taken, and the next one like it allocates nothing") {
  Opened opened;
  std::vector<Result> results(1);
  opened.run(picture(512, 512), results);
  const ImageView large = picture(128, 64000);
  const std::int64_t before = counting::allocations();
  opened.run(large, results);
  CHECK(counting::allocations() > before);
  CHECK(results[0].embedding.cols == 5);
  CHECK(allocations_of([&] { opened.run(large, results); }) == 0);
}

TEST_CASE("what a session sets aside is what the formula says") {
  if (!counting::counts_bytes()) {
    CHECK(true);
    return;
  }
  for (const auto& [tokens, slots, threads] :
       {std::tuple{256, 1, 1}, {1024, 1, 4}, {4096, 2, 2}, {16384, 1, 2}, {16384, 3, 3}}) {
    const Opened opened(threads, slots, tokens, "bicubic");
    const EngineMemory memory = memory_plan(opened.manifest, opened.manifest.engines.front(), threads);
    const auto planned = static_cast<std::int64_t>(memory.session_bytes(slots));
    std::printf("%d tokens, %d slots, %d threads: planned %lld bytes, allocated %lld (%.2f %%)\n", tokens, slots,
                threads, static_cast<long long>(planned), static_cast<long long>(opened.set_bytes),
                100.0 * static_cast<double>(opened.set_bytes - planned) / static_cast<double>(planned));
    CHECK(opened.set_bytes >= planned);
    // Beyond it: the objects themselves, and what the allocator rounds up.
    CHECK(opened.set_bytes < planned + planned / 100 + 24 * 1024);
  }
}

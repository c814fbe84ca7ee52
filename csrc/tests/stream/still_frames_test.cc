// Frames of a camera that shows what it showed before: which are run, and what the others get.
#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/stream.h"
#include "support/check.h"
#include "support/remembering_session.h"
#include "support/stream_fixture.h"

using namespace navit_edge;

namespace {

StreamOptions of_camera(StillOptions still = {}) {
  StreamOptions stream_options = with(32);
  stream_options.still = still;
  return stream_options;
}

/// The picture with noise of at most `levels` on every value.
Picture noisy(const Picture& picture, unsigned seed, std::int32_t levels) {
  Picture other = picture;
  std::mt19937 random(seed);
  for (auto& byte : other.pixels) {
    const auto off = static_cast<std::int32_t>(random() % static_cast<unsigned>(2 * levels + 1)) - levels;
    byte = static_cast<std::uint8_t>(std::clamp(byte + off, 0, 255));
  }
  other.view.data = other.pixels.data();
  return other;
}

/// Gray of one level; a square of `side` pixels in its middle is white.
Picture scene(std::int32_t level, std::int32_t side, std::int32_t height = 120, std::int32_t width = 160) {
  Picture picture(0, height, width);
  std::fill(picture.pixels.begin(), picture.pixels.end(), static_cast<std::uint8_t>(level));
  for (std::int32_t y = (height - side) / 2; y < (height - side) / 2 + side; ++y) {
    auto* const row = picture.pixels.data() + static_cast<std::ptrdiff_t>(y) * width * 3;
    std::fill(row + (width - side) / 2 * 3, row + ((width - side) / 2 + side) * 3, std::uint8_t{255});
  }
  return picture;
}

/// Which of the frames were run, by one stream, one after the other.
std::vector<bool> run_of(Session& session, const std::vector<Picture>& frames, StillOptions still = {}) {
  Stream stream(session, of_camera(still));
  std::vector<bool> run;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    REQUIRE(stream.push({frames[i].view, nullptr}, i) == Pushed::kTaken);
    const std::optional<Result> result = stream.pop();
    REQUIRE((result.has_value() && result->error == nullptr && result->tag == i));
    run.push_back(!result->cached);
  }
  return run;
}

}  // namespace

TEST_CASE("a frame that is as its key frame gets the key frame's bits, and no run") {
  Session session(TestBundle().write(), remembering());
  const Picture first = scene(100, 0);
  const std::vector<Picture> frames = {first, noisy(first, 1, 3), noisy(first, 2, 3)};
  const Result expected = session.run(views_of({first}))[0];
  take_stats();
  Stream stream(session, of_camera());
  for (std::size_t i = 0; i < frames.size(); ++i) {
    CHECK(stream.push({frames[i].view, nullptr}, i) == Pushed::kTaken);
    const std::optional<Result> result = stream.pop();
    REQUIRE(result.has_value());
    CHECK((result->tag == i && result->cached == (i > 0)));
    CHECK(same(*result, expected));
  }
  CHECK(take_stats().runs == 1);
}

TEST_CASE("frames that come before the key frame has run get its result, too") {
  Session session(TestBundle().write(), remembering());
  const Picture first = scene(100, 0);
  std::vector<Picture> frames;
  for (unsigned i = 0; i < 20; ++i) frames.push_back(noisy(first, i, 3));
  take_stats();
  Stream stream(session, of_camera());
  for (std::size_t i = 0; i < frames.size(); ++i) CHECK(stream.push({frames[i].view, nullptr}, i) == Pushed::kTaken);
  stream.finish();
  const std::vector<Result> results = all_of(stream);
  REQUIRE(results.size() == frames.size());
  for (const Result& result : results) CHECK(same(result, results[0]));
  CHECK(take_stats().runs == 1);
}

TEST_CASE("a change is run: one that is large enough, by enough levels, or of the size") {
  Session session(TestBundle().write(), remembering());
  const Picture still = scene(100, 0);
  CHECK(run_of(session, {still, scene(100, 20), scene(100, 20), still}) == std::vector<bool>{true, true, false, true});
  CHECK(run_of(session, {still, scene(116, 0), scene(117, 0)}) == std::vector<bool>{true, false, true});
  CHECK(run_of(session, {still, scene(100, 0, 160, 120)}) == std::vector<bool>{true, true});
  // Compared with the key frame, so what creeps is seen in the end.
  CHECK(run_of(session, {still, scene(108, 0), scene(116, 0), scene(124, 0), scene(132, 0)}) ==
        std::vector<bool>{true, false, false, true, false});
}

TEST_CASE("levels, share and the frames to the next key frame are the caller's") {
  Session session(TestBundle().write(), remembering());
  const Picture still = scene(100, 0);
  CHECK(run_of(session, {still, scene(101, 0)}, {0, 0.0, 0}) == std::vector<bool>{true, true});
  CHECK(run_of(session, {still, still}, {0, 0.0, 0}) == std::vector<bool>{true, false});
  CHECK(run_of(session, {still, scene(100, 40)}, {16, 0.5, 0}) == std::vector<bool>{true, false});
  CHECK(run_of(session, std::vector<Picture>(7, still), {16, 0.002, 3}) ==
        std::vector<bool>{true, false, false, true, false, false, true});
}

TEST_CASE("two streams have key frames of their own; without still frames every frame is run or known by its pixels") {
  Session session(TestBundle().write(), remembering());
  const Picture still = scene(100, 0);
  CHECK(run_of(session, {still, noisy(still, 1, 3)}) == std::vector<bool>{true, false});
  CHECK(run_of(session, {noisy(still, 2, 3)}) == std::vector<bool>{true});
  Stream plain(session, with(0));
  const Picture other = noisy(still, 3, 3);
  CHECK(plain.push({other.view, nullptr}, 0) == Pushed::kTaken);
  CHECK(!plain.pop()->cached);
}

TEST_CASE("what makes no sense is refused, and a frame that cannot be read fails alone") {
  Session session(TestBundle().write(), remembering());
  for (const StillOptions wrong : {StillOptions{-1, 0.0, 0}, StillOptions{256, 0.0, 0}, StillOptions{16, -0.1, 0},
                                   StillOptions{16, 1.0, 0}, StillOptions{16, 0.0, -1}}) {
    CHECK_THROWS_AS(Stream(session, of_camera(wrong)), InvalidInput);
  }
  Session forgetful(TestBundle().write(), options());
  CHECK_THROWS_AS(Stream(forgetful, of_camera()), InvalidInput);

  const Picture still = scene(100, 0);
  Stream stream(session, of_camera());
  ImageView bad = still.view;
  bad.channels = 2;
  CHECK(stream.push({bad, nullptr}, 0) == Pushed::kTaken);
  CHECK(stream.pop()->error != nullptr);
  CHECK(stream.push({still.view, nullptr}, 1) == Pushed::kTaken);
  CHECK(stream.pop()->error == nullptr);
}

// Streams of live sources over a backend that computes integers: which images are dropped while a stream is full.
#include <algorithm>
#include <memory>
#include <thread>

#include "navit_edge/error.h"
#include "navit_edge/stream.h"
#include "support/check.h"
#include "support/held_source.h"
#include "support/session_fixture.h"
#include "support/stream_fixture.h"

using namespace navit_edge;

TEST_CASE("drop-newest drops what comes while the stream is full") {
  const Counted images = counted(5);
  Session session(TestBundle().write(), options());
  Tags gone;
  StreamOptions stream_options = with(2, DropPolicy::kDropNewest);
  stream_options.on_drop = [&](std::uint64_t tag) { gone.push_back(tag); };
  Stream stream(session, stream_options);
  CHECK(stream.push(images.image(0), 0) == Pushed::kTaken);
  CHECK(stream.push(images.image(1), 1) == Pushed::kTaken);
  for (std::size_t i = 2; i < 4; ++i) CHECK(stream.push(images.image(i), i) == Pushed::kDropped);
  CHECK(stream.pop()->tag == 0);
  CHECK(stream.push(images.image(4), 4) == Pushed::kTaken);
  stream.finish();
  CHECK(tags_of(all_of(stream)) == Tags{1, 4});
  CHECK(stream.dropped() == 2);
  CHECK(gone == Tags{2, 3});
  CHECK(eventually([&] { return *images.held == 0; }));
}

TEST_CASE("drop-oldest gives up the oldest result that nobody fetched where no image waits") {
  const Counted images = counted(6);
  Session session(TestBundle().write(), options());
  for (const bool ordered : {true, false}) {
    Tags gone;
    StreamOptions stream_options = with(2, DropPolicy::kDropOldest, ordered);
    stream_options.on_drop = [&](std::uint64_t tag) { gone.push_back(tag); };
    Stream stream(session, stream_options);
    for (std::size_t i = 0; i < 6; ++i) {
      CHECK(stream.push(images.image(i), i) == Pushed::kTaken);
      session.drain();
      CHECK(stream.size() <= 2);
    }
    stream.finish();
    CHECK(tags_of(all_of(stream)) == Tags{4, 5});
    CHECK(stream.dropped() == 4);
    CHECK(gone == Tags{0, 1, 2, 3});
  }
}

TEST_CASE("drop-oldest cancels the oldest image that waits, never one that runs") {
  const Counted images = counted(10);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_on_run", "0"}};
  SessionOptions one_slot = options();
  one_slot.slots = 1;
  for (const bool ordered : {true, false}) {
    Session session(bundle.write(), one_slot);
    (void)take_stats();
    Tags gone;
    StreamOptions stream_options = with(4, DropPolicy::kDropOldest, ordered);
    stream_options.on_drop = [&](std::uint64_t tag) { gone.push_back(tag); };
    Stream stream(session, stream_options);
    CHECK(stream.push(images.image(0), 0) == Pushed::kTaken);
    REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
    for (std::size_t i = 1; i < 10; ++i) {
      CHECK(stream.push(images.image(i), i) == Pushed::kTaken);
      CHECK(stream.size() <= 4);
    }
    CHECK(gone == Tags{1, 2, 3, 4, 5, 6});
    CHECK(stream.dropped() == 6);
    CHECK(eventually([&] { return *images.held <= 4; }));  // what was dropped holds no pixels
    release_stalls();
    stream.finish();
    Tags tags = tags_of(all_of(stream));
    std::sort(tags.begin(), tags.end());
    CHECK(tags == Tags{0, 7, 8, 9});
    session.drain();
  }
  CHECK(eventually([&] { return *images.held == 0; }));
}

TEST_CASE("where the session's queue is full, a live stream drops and never waits") {
  const Counted images = counted(3);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_on_run", "0"}};
  SessionOptions small = options();
  small.slots = 1;
  small.queue_limit = 1;
  for (const DropPolicy drop : {DropPolicy::kDropNewest, DropPolicy::kDropOldest}) {
    Session session(bundle.write(), small);
    (void)take_stats();
    Stream stream(session, with(100, drop));
    CHECK(stream.push(images.image(0), 0) == Pushed::kTaken);
    REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
    CHECK(stream.push(images.image(1), 1) == Pushed::kTaken);  // fills the queue
    for (std::size_t i = 2; i < 50; ++i) {
      const Pushed pushed = stream.push(images.image(i % 3), i);
      CHECK(pushed == (drop == DropPolicy::kDropNewest ? Pushed::kDropped : Pushed::kTaken));
      // Cancelled images count in the queue until the session has called back.
      REQUIRE(eventually([&] { return *images.held <= 2; }));
    }
    CHECK(stream.size() == 2);
    CHECK(stream.dropped() == 48);
    release_stalls();
    stream.finish();
    CHECK(tags_of(all_of(stream)) == (drop == DropPolicy::kDropNewest ? Tags{0, 1} : Tags{0, 49}));
  }
}

TEST_CASE("files in a stream are decoded by the session's threads, and leave in order") {
  const std::vector<Picture> pictures = some_pictures(30);
  SessionOptions session_options = options(1);
  session_options.decoders = 3;
  TestBundle bundle;
  Session session(bundle.write(), session_options);
  const std::vector<Result> expected = session.run(views_of(pictures));
  const Sources sources;
  Stream stream(session, with(8));
  std::thread feeder([&] {
    for (std::size_t i = 0; i < pictures.size(); ++i) CHECK(stream.push(sources.of(pictures[i]), i) == Pushed::kTaken);
    stream.finish();
  });
  const std::vector<Result> results = all_of(stream);
  feeder.join();
  REQUIRE(results.size() == 30);
  for (std::size_t i = 0; i < 30; ++i) CHECK((results[i].tag == i && same(results[i], expected[i])));
  CHECK_THROWS_WITH_AS(stream.push(std::shared_ptr<ImageSource>()), "was given no image source", InvalidInput);
}

TEST_CASE("drop-oldest gives up a file that waits to be decoded, without decoding it; cancel all that are") {
  const std::vector<Picture> pictures = some_pictures(5);
  SessionOptions session_options = options(1);
  session_options.decoders = 1;
  TestBundle bundle;
  Session session(bundle.write(), session_options);
  const Sources sources;
  Gate gate;
  Tags gone;
  StreamOptions stream_options = with(2, DropPolicy::kDropOldest);
  stream_options.on_drop = [&](std::uint64_t tag) { gone.push_back(tag); };
  {
    Stream stream(session, stream_options);
    CHECK(stream.push(sources.of(pictures[0], gate), 0) == Pushed::kTaken);
    REQUIRE(gate.await(1));
    for (std::size_t i = 1; i < 5; ++i) CHECK(stream.push(sources.of(pictures[i], gate), i) == Pushed::kTaken);
    CHECK(gone == Tags{0, 1, 2});
  }
  gate.open();
  session.drain();
  session.close();
  CHECK((sources.counts->decoded == 1 && sources.counts->alive == 0 && sources.counts->pixel_bytes == 0));
}

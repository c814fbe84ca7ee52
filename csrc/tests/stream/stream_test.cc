// Streams over a backend that computes integers.
#include "navit_edge/stream.h"

#include <algorithm>
#include <atomic>
#include <numeric>
#include <set>
#include <thread>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/session_fixture.h"
#include "support/stream_fixture.h"

using namespace navit_edge;

TEST_CASE("a stream gives the bits of a run, in the order of the pushes, through any capacity") {
  const Counted images = counted(40);
  Session session(TestBundle().write(), options());
  const std::vector<Result> expected = session.run(views_of(images.pictures));
  for (const std::size_t capacity : {1U, 3U, 0U}) {
    Stream stream(session, with(capacity));
    CHECK(capacity == 0 || stream.capacity() == capacity);
    std::thread feeder([&] {
      for (std::size_t i = 0; i < images.pictures.size(); ++i) CHECK(stream.push(images.image(i), i) == Pushed::kTaken);
      stream.finish();
    });
    const std::vector<Result> results = all_of(stream);
    feeder.join();
    REQUIRE(results.size() == expected.size());
    for (std::size_t i = 0; i < results.size(); ++i) {
      CHECK(results[i].tag == i);
      CHECK(same(results[i], expected[i]));
    }
    CHECK(stream.dropped() == 0);
    CHECK(stream.size() == 0);
  }
  CHECK(eventually([&] { return *images.held == 0; }));
}

TEST_CASE("as completed, every image comes out once") {
  const Counted images = counted(60);
  Session session(TestBundle().write(), options());
  const std::vector<Result> expected = session.run(views_of(images.pictures));
  Stream stream(session, with(7, DropPolicy::kBlock, false));
  std::thread feeder([&] {
    for (std::size_t i = 0; i < images.pictures.size(); ++i) (void)stream.push(images.image(i), i);
    stream.finish();
  });
  const std::vector<Result> results = all_of(stream);
  feeder.join();
  Tags tags = tags_of(results);
  std::sort(tags.begin(), tags.end());
  Tags each(images.pictures.size());
  std::iota(each.begin(), each.end(), 0U);
  CHECK(tags == each);
  for (const Result& result : results) CHECK(same(result, expected[result.tag]));
}

TEST_CASE("a full stream holds the pusher until a result is fetched") {
  const Counted images = counted(8);
  Session session(TestBundle().write(), options());
  Stream stream(session, with(3));
  std::atomic<std::size_t> pushed{0};
  std::thread feeder([&] {
    for (std::size_t i = 0; i < 8; ++i) {
      (void)stream.push(images.image(i), i);
      ++pushed;
    }
    stream.finish();
  });
  CHECK(eventually([&] { return pushed == 3; }));
  session.drain();  // all three are done, and still there
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(pushed == 3);
  CHECK(stream.size() == 3);
  CHECK(stream.pop()->tag == 0);
  CHECK(eventually([&] { return pushed == 4; }));
  CHECK(tags_of(all_of(stream)) == Tags{1, 2, 3, 4, 5, 6, 7});
  feeder.join();
}

TEST_CASE("pixels are bounded, too, and one image is always let in") {
  std::vector<std::uint8_t> pixels(std::size_t{40} * 40 * 3, 9);
  const OwnedImage image{{pixels.data(), 40, 40, 3, 0}, nullptr};
  Session session(TestBundle().write(), options());
  StreamOptions stream_options = with(100);
  stream_options.capacity_bytes = 100;  // less than one
  Stream stream(session, stream_options);
  std::thread feeder([&] {
    for (std::size_t i = 0; i < 20; ++i) (void)stream.push(image, i);
    stream.finish();
  });
  feeder.join();  // results hold no pixels, so nobody needs to fetch any
  CHECK(all_of(stream).size() == 20);

  stream_options.drop = DropPolicy::kDropNewest;
  Stream live(session, stream_options);
  std::uint64_t taken = 0;
  for (std::size_t i = 0; i < 200; ++i) taken += live.push(image, i) == Pushed::kTaken ? 1U : 0U;
  live.finish();
  CHECK(taken >= 1);
  CHECK(taken + live.dropped() == 200);
  CHECK(all_of(live).size() == taken);
}

TEST_CASE("an image that cannot be read, or run, takes its turn with its error") {
  const Counted images = counted(3);
  Session session(TestBundle().write(), options());
  for (const bool ordered : {true, false}) {
    Stream stream(session, with(9, DropPolicy::kBlock, ordered));
    (void)stream.push(images.image(0), 0);
    CHECK(stream.push_failed(std::make_exception_ptr(InvalidInput("no such file")), 1) == Pushed::kTaken);
    CHECK(stream.push(OwnedImage{}, 2) == Pushed::kTaken);  // zero-sized
    (void)stream.push(images.image(1), 3);
    stream.finish();
    std::vector<Result> results = all_of(stream);
    REQUIRE(results.size() == 4);
    std::sort(results.begin(), results.end(), [](const Result& a, const Result& b) { return a.tag < b.tag; });
    CHECK(results[0].error == nullptr);
    CHECK(message_of(results[1].error) == "no such file");
    CHECK_THROWS_AS(std::rethrow_exception(results[2].error), InvalidInput);
    CHECK(results[3].error == nullptr);
  }
}

TEST_CASE("after finish nothing is taken, and the end comes after the last result, again and again") {
  const Counted images = counted(2);
  Session session(TestBundle().write(), options());
  Stream stream(session);
  CHECK(stream.push(images.image(0)) == Pushed::kTaken);
  stream.finish();
  CHECK(stream.push(images.image(1)) == Pushed::kEnded);
  CHECK(stream.push_failed(nullptr) == Pushed::kEnded);
  CHECK(stream.pop().has_value());
  CHECK(!stream.pop().has_value());
  CHECK(!stream.pop().has_value());
  std::vector<Result> results;
  CHECK(!stream.pop_some(1, std::chrono::seconds(1), results));
}

TEST_CASE("pop_some waits no longer than it is told, and takes no more than it is told") {
  const Counted images = counted(5);
  Session session(TestBundle().write(), options());
  Stream stream(session, with(5));
  std::vector<Result> results;
  CHECK(stream.pop_some(3, std::chrono::microseconds(100), results));
  CHECK(results.empty());
  for (std::size_t i = 0; i < 5; ++i) (void)stream.push(images.image(i), i);
  session.drain();
  CHECK(stream.pop_some(3, std::chrono::seconds(60), results));
  CHECK(tags_of(results) == Tags{0, 1, 2});
  CHECK(stream.pop_some(3, std::chrono::seconds(60), results));
  CHECK(tags_of(results) == Tags{0, 1, 2, 3, 4});
}

TEST_CASE("cancel wakes who pushes and who pops, and lets all pixels go") {
  const Counted images = counted(40);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "2000"}};
  Session session(bundle.write(), options());
  for (int round = 0; round < 5; ++round) {
    Stream stream(session, with(4));
    std::atomic<int> ended{0};
    std::thread feeder([&] {
      for (std::size_t i = 0; stream.push(images.image(i % 40), i) != Pushed::kEnded; ++i) {
      }
      ++ended;
    });
    std::thread reader([&] {
      while (stream.pop().has_value()) {
      }
      ++ended;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(round * 3));
    stream.cancel();
    feeder.join();
    reader.join();
    CHECK(ended == 2);
    CHECK(!stream.pop().has_value());
  }
  session.drain();
  CHECK(eventually([&] { return *images.held == 0; }));
}

TEST_CASE("a stream may go while its images run, and may be moved") {
  const Counted images = counted(10);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "3000"}};
  Session session(bundle.write(), options());
  {
    Stream stream(session, with(20));
    for (std::size_t i = 0; i < 10; ++i) (void)stream.push(images.image(i), i);
    Stream other = std::move(stream);
    CHECK(other.pop()->tag == 0);
    other = Stream(session);
    other.finish();
    CHECK(!other.pop().has_value());
  }
  session.drain();
  CHECK(eventually([&] { return *images.held == 0; }));
}

TEST_CASE("when the session closes, waiting images come out cancelled and a push throws") {
  const Counted images = counted(12);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "3000"}};
  Session session(bundle.write(), options());
  Stream stream(session, with(20));
  for (std::size_t i = 0; i < 11; ++i) (void)stream.push(images.image(i), i);
  session.close();
  CHECK_THROWS_AS(stream.push(images.image(11), 11), Cancelled);
  stream.finish();
  const std::vector<Result> results = all_of(stream);
  CHECK(results.size() == 11);
  for (const Result& result : results) {
    if (result.error != nullptr) CHECK_THROWS_AS(std::rethrow_exception(result.error), Cancelled);
  }
}

TEST_CASE("many threads push into several streams of one session, others pop, and each image comes out once") {
  const Counted images = counted(16);
  Session session(TestBundle().write(), options());
  const std::vector<Result> expected = session.run(views_of(images.pictures));
  constexpr std::uint64_t kPushers = 4;
  constexpr std::uint64_t kEach = 150;
  for (const DropPolicy drop : {DropPolicy::kBlock, DropPolicy::kDropOldest}) {
    Stream in_order(session, with(5, drop));
    Stream as_done(session, with(3, drop, false));
    for (Stream* stream : {&in_order, &as_done}) {
      std::vector<std::thread> pushers;
      std::vector<std::thread> poppers;
      std::vector<Tags> seen(3);
      std::atomic<int> wrong{0};
      for (std::uint64_t p = 0; p < kPushers; ++p) {
        pushers.emplace_back([&, p] {
          for (std::uint64_t i = 0; i < kEach; ++i) {
            const std::uint64_t tag = p * kEach + i;
            if (stream->push(images.image(tag % 16), tag) == Pushed::kEnded) ++wrong;
          }
        });
      }
      for (Tags& tags : seen) {
        poppers.emplace_back([&] {
          while (const std::optional<Result> result = stream->pop()) {
            if (!same(*result, expected[result->tag % 16])) ++wrong;
            tags.push_back(result->tag);
          }
        });
      }
      for (std::thread& pusher : pushers) pusher.join();
      stream->finish();
      for (std::thread& popper : poppers) popper.join();
      std::set<std::uint64_t> each;
      std::size_t count = 0;
      for (const Tags& tags : seen) {
        each.insert(tags.begin(), tags.end());
        count += tags.size();
      }
      CHECK(wrong == 0);
      CHECK(each.size() == count);
      CHECK(count + stream->dropped() == kPushers * kEach);
    }
  }
  CHECK(eventually([&] { return *images.held == 0; }));
}

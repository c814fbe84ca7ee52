// Image files that are submitted: decoded by the session's threads, in order, within their bytes; what becomes of each.
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/held_session.h"
#include "support/held_source.h"
#include "support/remembering_session.h"

using namespace navit_edge;

namespace {

SessionOptions decoding(int decoders) {
  SessionOptions session_options = options(1);
  session_options.decoders = decoders;
  return session_options;
}

SubmitOptions tagged(std::uint64_t tag, std::int32_t priority = 0) {
  SubmitOptions submit_options;
  submit_options.tag = tag;
  submit_options.priority = priority;
  return submit_options;
}

}  // namespace

TEST_CASE("files give the bits of a run, from eight threads, by one decode thread and by several") {
  const std::vector<Picture> pictures = some_pictures(24);
  for (const int threads : {1, 4}) {
    TestBundle bundle;
    Session session(bundle.write(), decoding(threads));
    const std::vector<Result> expected = session.run(views_of(pictures));
    const Sources sources;
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (std::size_t c = 0; c < 8; ++c) {
      callers.emplace_back([&, c] {
        std::vector<Submitted> submitted;
        for (std::size_t i = 0; i < pictures.size(); ++i) {
          const std::size_t at = (i + 5 * c) % pictures.size();
          submitted.push_back(session.submit(sources.of(pictures[at]), tagged(at)));
        }
        for (Submitted& one : submitted) {
          const Result result = one.result.get();
          wrong += same(result, expected[result.tag]) && result.id == one.id ? 0 : 1;
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    session.drain();
    CHECK(wrong == 0);
    CHECK(balanced(session.metrics()));
    session.close();
    CHECK((sources.counts->decoded == 8 * 24 && sources.counts->alive == 0 && sources.counts->pixel_bytes == 0));
  }
}

TEST_CASE("submit returns while its file is decoded; drain waits for it") {
  const std::vector<Picture> pictures = some_pictures(2);
  TestBundle bundle;
  Session session(bundle.write(), decoding(1));
  const Sources sources;
  Gate gate;
  Collector collector;
  session.submit(sources.of(pictures[0], gate), {}, collector.done());
  session.submit(sources.of(pictures[1]), {}, collector.done());
  REQUIRE(gate.await(1));
  CHECK(session.submit({pictures[1].view, nullptr}).result.get().error == nullptr);  // others pass
  CHECK(!session.drain({.timeout_us = 1}));
  CHECK(collector.size() == 0);
  gate.open();
  CHECK(session.drain());
  CHECK(collector.size() == 2);
}

TEST_CASE("files are decoded by priority, then by deadline, then in the order they came") {
  const std::vector<Picture> pictures = some_pictures(1);
  TestBundle bundle;
  Session session(bundle.write(), decoding(1));
  const Sources sources;
  Gate gate;
  std::vector<int> order;  // of one thread
  std::vector<Submitted> all;
  all.push_back(session.submit(sources.of(pictures[0], gate)));
  REQUIRE(gate.await(1));
  const std::vector<std::pair<std::int32_t, double>> asked = {{0, 0}, {0, 9e9}, {1, 0}, {-1, 1e9}, {0, 5e9}, {1, 0}};
  for (int i = 0; i < static_cast<int>(asked.size()); ++i) {
    SubmitOptions submit_options = tagged(0, asked[static_cast<std::size_t>(i)].first);
    submit_options.deadline_us = asked[static_cast<std::size_t>(i)].second;
    const auto source = sources.of(pictures[0]);
    source->in_decode = [&order, i] { order.push_back(i); };
    all.push_back(session.submit(source, submit_options));
  }
  gate.open();
  for (Submitted& one : all) CHECK(one.result.get().error == nullptr);
  CHECK(order == std::vector<int>{2, 5, 4, 1, 0, 3});
}

TEST_CASE("a file of low priority that waits too long gets its turn") {
  const std::vector<Picture> pictures = some_pictures(1);
  TestBundle bundle;
  SessionOptions session_options = decoding(1);
  session_options.aging_us = 0;
  Session session(bundle.write(), session_options);
  const Sources sources;
  Gate gate;
  std::vector<int> order;
  const auto submit = [&](int number, std::int32_t priority) {
    const auto source = sources.of(pictures[0]);
    source->in_decode = [&order, number] { order.push_back(number); };
    return session.submit(source, tagged(0, priority));
  };
  std::vector<Submitted> all;
  all.push_back(session.submit(sources.of(pictures[0], gate)));
  REQUIRE(gate.await(1));
  all.push_back(submit(0, -1));
  for (int i = 1; i < 8; ++i) all.push_back(submit(i, 1));
  gate.open();
  for (Submitted& one : all) CHECK(one.result.get().error == nullptr);
  CHECK(order == std::vector<int>{1, 2, 0, 3, 4, 5, 6, 7});  // the fourth turn, that of the gate among them
}

TEST_CASE("a file that waits can be taken back, and so can one that is being decoded") {
  const std::vector<Picture> pictures = some_pictures(2);
  TestBundle bundle;
  Session session(bundle.write(), decoding(1));
  const Sources sources;
  Gate gate;
  Submitted decoded = session.submit(sources.of(pictures[0], gate));
  REQUIRE(gate.await(1));
  Submitted waiting = session.submit(sources.of(pictures[1]));
  CHECK(session.cancel(waiting.id));
  CHECK(!session.cancel(waiting.id));
  CHECK_THROWS_WITH_AS(waiting.result.get(), "image " + std::to_string(waiting.id) + " was cancelled", Cancelled);
  CHECK(session.cancel(decoded.id));
  CHECK(!session.cancel(decoded.id));
  CHECK_THROWS_WITH_AS(decoded.result.get(), "was cancelled", Cancelled);  // though its decoder still runs
  gate.open();
  CHECK(session.submit(sources.of(pictures[0])).result.get().error == nullptr);
  CHECK(sources.counts->decoded == 2);
  CHECK(balanced(session.metrics()));
  session.close();
  CHECK((sources.counts->alive == 0 && sources.counts->pixel_bytes == 0));
}

TEST_CASE("what is wrong with a file is its own error, whatever its decoder throws") {
  const std::vector<Picture> pictures = some_pictures(2);
  TestBundle bundle;
  Session session(bundle.write(), decoding(2));
  const Sources sources;
  const auto failing = [&](std::function<void()> body) {
    const auto source = sources.of(pictures[0]);
    source->in_decode = std::move(body);
    return session.submit(source);
  };
  Submitted refused = failing([] { throw InvalidInput("the file is no image"); });
  Submitted other = failing([] { throw std::runtime_error("out of paper"); });
  Submitted strange = failing([] { throw 3; });
  const auto in_open = sources.of(pictures[0]);
  in_open->in_open = [](const DecodeTarget&) { throw OverBudget("too large"); };
  Submitted opening = session.submit(in_open);
  const Picture nothing(1, 0, 0);
  Submitted none = session.submit(sources.of(nothing));
  Submitted good = session.submit(sources.of(pictures[1]));
  CHECK_THROWS_WITH_AS(refused.result.get(), "the file is no image", InvalidInput);
  CHECK_THROWS_WITH_AS(other.result.get(), "cannot be decoded (out of paper); check the file", InvalidInput);
  CHECK_THROWS_WITH_AS(strange.result.get(), "cannot be decoded", InvalidInput);
  CHECK_THROWS_WITH_AS(opening.result.get(), "too large", OverBudget);
  CHECK_THROWS_AS(none.result.get(), InvalidInput);
  CHECK(good.result.get().error == nullptr);
  CHECK_THROWS_WITH_AS(session.submit(std::shared_ptr<ImageSource>()), "was given no image source", InvalidInput);
  session.drain();
  CHECK(balanced(session.metrics()));
  CHECK(session.broken().empty());
}

TEST_CASE("an image that is decoded fails as one that is given: over the budget, over the queue") {
  TestBundle bundle;
  bundle.json["preprocess"]["sizing"] = {{"rule", "native"}};
  const Picture large(3, 64, 64);
  const Picture small(4, 16, 16);
  SessionOptions session_options = decoding(1);
  session_options.queue_limit = 2;
  Session session(bundle.write(), session_options);
  const Sources sources;
  CHECK_THROWS_WITH_AS(session.submit(sources.of(large)).result.get(), "needs 256 tokens; the largest budget is 128",
                       OverBudget);
  Gate gate;
  Submitted first = session.submit(sources.of(small, gate));
  Submitted second = session.submit(sources.of(small));
  std::shared_ptr<ImageSource> third = sources.of(small);
  Collector collector;
  CHECK(!session.try_submit(third, {}, collector.done()).has_value());
  CHECK(third != nullptr);
  gate.open();
  CHECK(session.try_submit(third, {}, collector.done(), {.timeout_us = 60e6}).has_value());
  session.drain();
  CHECK((first.result.get().error == nullptr && second.result.get().error == nullptr && collector.size() == 1));
}

TEST_CASE("pixels stay within their bytes from before they are decoded until a pack has read them") {
  std::vector<Picture> pictures;
  for (unsigned i = 0; i < 30; ++i) pictures.emplace_back(i, 16, 16);  // 768 bytes each
  for (const auto& [most, expected] : std::vector<std::pair<std::uint64_t, std::int64_t>>{{2000, 1536}, {1, 768}}) {
    TestBundle bundle;
    SessionOptions session_options = decoding(4);
    session_options.decode_bytes = most;
    Session session(bundle.write(), session_options);
    const Sources sources;
    Collector collector;
    for (const Picture& picture : pictures) session.submit(sources.of(picture), {}, collector.done());
    session.drain();
    CHECK(collector.size() == 30);
    CHECK(sources.counts->most_bytes <= expected);
  }
}

TEST_CASE("closing fails the files that wait at once, and waits for those that are being decoded") {
  const std::vector<Picture> pictures = some_pictures(3);
  TestBundle bundle;
  Session session(bundle.write(), decoding(1));
  const Sources sources;
  Gate gate;
  std::vector<Submitted> all;
  for (const Picture& picture : pictures) all.push_back(session.submit(sources.of(picture, gate)));
  REQUIRE(gate.await(1));
  std::thread closing([&] { session.close(); });
  for (Submitted& one : all) CHECK_THROWS_WITH_AS(one.result.get(), "the session was closed", Cancelled);
  CHECK(sources.counts->decoded == 1);
  gate.open();
  closing.join();
  CHECK((sources.counts->alive == 0 && sources.counts->pixel_bytes == 0));
  CHECK_THROWS_WITH_AS(session.submit(sources.of(pictures[0])), "the session is closed", Cancelled);
  CHECK(balanced(session.metrics()));
}

TEST_CASE("a file that waits for room is let go when the session closes") {
  const std::vector<Picture> pictures = some_pictures(3);
  const Held bundle(1);
  SessionOptions session_options = decoding(2);
  session_options.decode_bytes = 1;
  Session session(bundle.path(), session_options);
  (void)take_stats();
  const Sources sources;
  std::vector<Submitted> all;
  for (const Picture& picture : pictures) all.push_back(session.submit(sources.of(picture)));
  REQUIRE(eventually([&] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
  REQUIRE(eventually([&] { return sources.counts->opened == 3; }));  // the engine is held, and its pixels are read
  std::thread closing([&] { session.close(); });
  release_stalls();
  closing.join();
  int done = 0;
  for (Submitted& one : all) {
    try {
      done += one.result.get().error == nullptr ? 1 : 0;
    } catch (const Cancelled&) {
    }
  }
  CHECK(done >= 1);
  CHECK((sources.counts->alive == 0 && sources.counts->pixel_bytes == 0));
}

TEST_CASE("a session that breaks fails the files that wait, and those that are being decoded") {
  const std::vector<Picture> pictures = some_pictures(1);
  const Faulty bundle({{"fail_every", "1"}}, 1);
  Session session(bundle.path(), decoding(1));
  const Sources sources;
  Gate gate;
  Submitted decoded = session.submit(sources.of(pictures[0], gate));
  Submitted waiting = session.submit(sources.of(pictures[0]));
  REQUIRE(gate.await(1));
  for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(session.submit(borrowed(pictures[0])).result.get(), BackendError);
  CHECK_THROWS_WITH_AS(waiting.result.get(), "the session is broken", BackendError);
  CHECK_THROWS_WITH_AS(decoded.result.get(), "the session is broken", BackendError);
  CHECK_THROWS_AS(session.submit(sources.of(pictures[0])), BackendError);
  gate.open();
}

TEST_CASE("a result that is remembered by its file saves decoding it") {
  const std::vector<Picture> pictures = some_pictures(1);
  TestBundle bundle;
  SessionOptions session_options = remembering();
  session_options.decoders = 1;
  Session session(bundle.write(), session_options);
  const Sources sources;
  const auto known = [&] {
    auto source = sources.of(pictures[0]);
    source->known_by = ContentDigest{1, 2, 3};
    source->noted = "turned upright";
    return source;
  };
  const Result first = session.submit(known()).result.get();
  const auto again = known();
  Submitted second = session.submit(again, tagged(7));
  const Result result = second.result.get();
  CHECK((result.cached && result.tag == 7 && result.id == second.id && values(result.logits) == values(first.logits)));
  CHECK(again->recalled_note == "turned upright");
  CHECK((sources.counts->decoded == 1 && sources.counts->opened == 1));
  Submitted by_pixels = session.submit(sources.of(pictures[0]));  // known by nothing: its pixels are hashed
  CHECK(values(by_pixels.result.get().logits) == values(first.logits));
  session.drain();
  CHECK(balanced(session.metrics()));
}

TEST_CASE("what decoding takes is a part of the wait, and of what a latency target counts") {
  const Picture picture(1, 40, 40);
  TestBundle bundle;
  Session session(bundle.write(), decoding(1));
  const Sources sources;
  const auto slow = [&] {
    auto source = sources.of(picture);
    source->in_decode = [] { std::this_thread::sleep_for(std::chrono::milliseconds(30)); };
    return source;
  };
  CHECK(session.submit(slow()).result.get().queue_us >= 30e3);
  SubmitOptions submit_options;
  submit_options.policy = Policy::latency(20e3);
  const Result late = session.submit(slow(), submit_options).result.get();
  CHECK(late.reason.missed_by_us >= 10e3);
}

TEST_CASE("a source is asked for what the session resizes to, and says what was resized") {
  const Picture picture(1, 60, 60);
  TestBundle bundle;
  SessionOptions session_options = decoding(1);
  session_options.decode = Decode::kScaled;
  Session session(bundle.write(), session_options);
  const Sources sources;
  std::optional<Size> size;
  Decode decode = Decode::kExact;
  const auto source = sources.of(picture);
  source->in_open = [&](const DecodeTarget& target) {
    size = target.resized_size({600, 300});
    decode = target.decode;
  };
  CHECK(session.submit(source).result.get().error == nullptr);
  CHECK(size == session.resized_size({600, 300}));
  CHECK(decode == Decode::kScaled);
  SessionOptions wrong = decoding(300);
  CHECK_THROWS_WITH_AS(Session(bundle.path(), wrong), "decoders is 300", InvalidInput);
}

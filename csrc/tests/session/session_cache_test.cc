// Sessions that remember results: what is computed once, who gets it, and what is never remembered.
#include <algorithm>
#include <atomic>
#include <future>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/stream.h"
#include "support/check.h"
#include "support/held_session.h"
#include "support/remembering_session.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

/// What the session remembers of a content.
std::optional<Result> recall(Session& session, const std::optional<ContentDigest>& digest, std::string& note,
                             const std::optional<Policy>& policy = std::nullopt, std::uint64_t tag = 0) {
  SubmitOptions submit_options;
  if (digest) submit_options.content = Content{*digest, ""};
  submit_options.policy = policy;
  submit_options.tag = tag;
  submit_options.deadline_us = 1e6;
  return session.recall(submit_options, note);
}

Content content_of(std::uint8_t byte, const std::string& note = "") {
  Content content;
  content.digest.fill(byte);
  content.note = note;
  return content;
}

}  // namespace

TEST_CASE("an image that was seen before is not run again, and gives the bits of the first time") {
  const std::vector<Picture> pictures = some_pictures(12);
  TestBundle bundle;
  Session session(bundle.write(), remembering());
  const std::vector<Result> first = session.run(views_of(pictures));
  (void)take_stats();
  RunReport report;
  const std::vector<Result> second = session.run(views_of(pictures), &report);
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    CHECK(same(first[i], second[i]));
    CHECK(!first[i].cached);
    CHECK((second[i].cached && second[i].pack == -1 && second[i].pack_tokens == 0));
    CHECK(second[i].placement.scale_x == first[i].placement.scale_x);
    const Result one = session.submit(borrowed(pictures[i])).result.get();
    CHECK((one.cached && same(one, first[i])));
  }
  CHECK(report.packs.empty());
  CHECK(take_stats().runs == 0);
  const Metrics metrics = session.metrics();
  CHECK((metrics.cache.misses == 12 && metrics.cache.hits == 24 && metrics.cache.entries == 12));
  CHECK(balanced(metrics));
}

TEST_CASE("without a cache nothing is remembered or counted") {
  const Picture picture(1, 20, 20);
  TestBundle bundle;
  Session session(bundle.write(), options(1));
  (void)take_stats();
  for (int i = 0; i < 3; ++i) CHECK(!session.run({&picture.view, 1})[0].cached);
  CHECK(take_stats().runs == 3);
  std::string note;
  CHECK(!recall(session, ContentDigest{}, note));
  const CacheMetrics cache = session.metrics().cache;
  CHECK((cache.hits == 0 && cache.misses == 0 && cache.most_bytes == 0));
}

TEST_CASE("images of one run with the same pixels are computed once, and the progress counts all") {
  const std::vector<Picture> pictures = some_pictures(3);
  std::vector<ImageView> views;
  for (std::size_t i = 0; i < 30; ++i) views.push_back(pictures[i % 3].view);
  views.emplace_back();  // fails alone
  TestBundle bundle;
  Session plain(bundle.write(), options(1));
  const std::vector<Result> expected = plain.run(views_of(pictures));
  Session session(bundle.path(), remembering());
  std::vector<std::size_t> told;
  RunOptions run_options;
  run_options.progress = [&](std::size_t done, std::size_t total) {
    CHECK(total == 31);
    told.push_back(done);
  };
  RunReport report;
  const std::vector<Result> results = session.run(views, &report, run_options);
  for (std::size_t i = 0; i < 30; ++i) {
    CHECK(same(results[i], expected[i % 3]));
    CHECK(results[i].cached == (i >= 3));
  }
  CHECK(results[30].error != nullptr);
  CHECK(told.back() == 31);
  CHECK(std::ranges::is_sorted(told));
  std::int32_t ran = 0;
  for (const PackReport& pack : report.packs) ran += pack.images;
  CHECK(ran == 3);
  CHECK((session.metrics().cache.coalesced == 27 && session.metrics().cache.misses == 3));
  CHECK(balanced(session.metrics()));
}

TEST_CASE("requests in flight with the same pixels compute once, before and after their pack has begun") {
  const std::vector<Picture> pictures = some_pictures(2);
  const Held bundle(1);
  Session session(bundle.path(), remembering());
  std::future<Result> held = hold(session, pictures[0]);
  Waiting waiting;
  for (std::uint64_t i = 0; i < 8; ++i) waiting.submit(session, pictures[i % 2], i);
  const std::map<std::uint64_t, Result> results = waiting.results(session);
  const Result first = held.get();
  CHECK(take_stats().runs == 2);
  for (const auto& [tag, result] : results) {
    CHECK(result.cached == (tag != 1));
    CHECK(same(result, tag % 2 == 0 ? first : results.at(1)));
  }
  CHECK(results.size() == 8);
  CHECK(waiting.order == std::vector<std::uint64_t>{0, 2, 4, 6, 1, 3, 5, 7});
  CHECK((session.metrics().cache.coalesced == 7 && session.metrics().cache.misses == 2));
  CHECK(balanced(session.metrics()));
}

TEST_CASE("who cancels takes only itself back, whichever of them is computed for the others") {
  const std::vector<Picture> pictures = some_pictures(3);
  for (const std::size_t victim : {0U, 1U, 2U, 3U}) {
    const Held bundle(1);
    Session session(bundle.path(), remembering());
    std::future<Result> held = hold(session, pictures[0]);
    Waiting waiting;
    for (std::uint64_t i = 0; i < 4; ++i) waiting.submit(session, pictures[1], i);
    waiting.submit(session, pictures[2], 4);
    CHECK(session.cancel(waiting.ids[victim]));
    CHECK(!session.cancel(waiting.ids[victim]));
    const std::map<std::uint64_t, Result> results = waiting.results(session);
    CHECK(take_stats().runs == 3);
    for (const auto& [tag, result] : results) CHECK((result.error != nullptr) == (tag == victim));
    CHECK((results.size() == 5 && session.metrics().cancelled == 1));
    CHECK(balanced(session.metrics()));
  }
}

TEST_CASE("when all of them are cancelled nothing is computed, and the next one is") {
  const std::vector<Picture> pictures = some_pictures(2);
  const Held bundle(1);
  Session session(bundle.path(), remembering());
  std::future<Result> held = hold(session, pictures[0]);
  Waiting waiting;
  for (std::uint64_t i = 0; i < 5; ++i) waiting.submit(session, pictures[1], i);
  for (const std::size_t i : {2U, 0U, 4U, 1U, 3U}) CHECK(session.cancel(waiting.ids[i]));
  waiting.submit(session, pictures[1], 5);
  const std::map<std::uint64_t, Result> results = waiting.results(session);
  CHECK(take_stats().runs == 2);
  for (const auto& [tag, result] : results) CHECK((result.error == nullptr) == (tag == 5));
  CHECK(balanced(session.metrics()));
}

TEST_CASE("images that wait for one result leave with the most urgent of them") {
  const std::vector<Picture> pictures = some_pictures(3);
  const Held bundle(1);
  Session session(bundle.path(), remembering());
  std::future<Result> held = hold(session, pictures[0]);
  Waiting waiting;
  waiting.submit(session, pictures[1], 0, -1);
  waiting.submit(session, pictures[2], 1, 0);
  waiting.submit(session, pictures[1], 2, 5);
  waiting.submit(session, pictures[1], 3, -5);
  const std::map<std::uint64_t, Result> results = waiting.results(session);
  CHECK(waiting.order == std::vector<std::uint64_t>{2, 0, 3, 1});
  CHECK((results.at(0).cached && results.at(3).cached && !results.at(2).cached));
  CHECK(take_stats().runs == 3);
}

TEST_CASE("an error reaches all that waited for the result, and is not remembered") {
  const std::vector<Picture> pictures = some_pictures(2);
  const Faulty bundle({{"stall_on_run", "0"}, {"fail_on_run", "1"}}, 1);
  Session session(bundle.path(), remembering());
  std::future<Result> held = hold(session, pictures[0]);
  Waiting waiting;
  for (std::uint64_t i = 0; i < 4; ++i) waiting.submit(session, pictures[1], i);
  for (const auto& [tag, result] : waiting.results(session)) {
    CHECK(contains(message_of(result.error), "pack 1 (1 images, "));
    CHECK(!result.cached);
  }
  CHECK(balanced(session.metrics()));
  CHECK(session.metrics().failures() == 4);
  const Result again = session.submit(borrowed(pictures[1])).result.get();
  CHECK((again.error == nullptr && !again.cached));
}

TEST_CASE("of an image whose outputs are no numbers nothing is remembered") {
  const Picture picture(1, 20, 20);
  const Faulty bundle({{"nan_on_run", "0"}}, 6);
  Session session(bundle.path(), remembering());
  const std::vector<ImageView> twice{picture.view, picture.view};
  for (const Result& result : session.run(twice)) CHECK(contains(message_of(result.error), "NaN or infinity"));
  CHECK(session.metrics().cache.entries == 0);
  CHECK(balanced(session.metrics()));
  for (const Result& result : session.run(twice)) CHECK(result.error == nullptr);
}

TEST_CASE("closing and a stalled pack end those that wait for another's result, too") {
  const std::vector<Picture> pictures = some_pictures(2);
  for (const bool close : {true, false}) {
    const Held bundle(1);
    SessionOptions session_options = remembering();
    if (!close) session_options.stall_timeout_s = 0.2;
    Session session(bundle.path(), session_options);
    std::future<Result> held = hold(session, pictures[0]);
    Waiting waiting;
    try {
      for (std::uint64_t i = 0; i < 6; ++i) waiting.submit(session, pictures[i % 2], i);
    } catch (const BackendError&) {  // a busy machine: it stalled before all were there
      CHECK(!close);
    }
    if (close) {
      std::thread closer([&] { session.close(); });
      REQUIRE(eventually([&] { return waiting.collector.size() == 3; }));  // of the pictures that no pack has
      release_stalls();
      closer.join();
    } else {
      REQUIRE(eventually([&] { return waiting.collector.size() == waiting.ids.size(); }));
    }
    for (const Result& result : waiting.collector.take()) {
      CHECK((result.error == nullptr) == (close && result.tag % 2 == 0));
      CHECK(message_of(result.error).empty() || close || result.tag % 2 == 1 ||
            contains(message_of(result.error), "stalled"));
    }
    release_stalls();
  }
}

TEST_CASE("a result that is remembered needs no place in a full queue; one that is waited for has one") {
  const std::vector<Picture> pictures = some_pictures(4);
  const Faulty bundle({{"stall_on_run", "1"}}, 1);
  SessionOptions session_options = remembering();
  session_options.queue_limit = 2;
  Session session(bundle.path(), session_options);
  const Result known = session.submit(borrowed(pictures[0])).result.get();
  std::future<Result> held = session.submit(borrowed(pictures[1])).result;
  REQUIRE(eventually([&] { return session.metrics().in_flight == 1 && session.metrics().waiting == 0; }));
  Waiting waiting;
  waiting.submit(session, pictures[2], 0);
  waiting.submit(session, pictures[2], 1);
  OwnedImage other = borrowed(pictures[3]);
  CHECK(!session.try_submit(other, {}, waiting.collector.done()));
  const Result hit = session.submit(borrowed(pictures[0])).result.get();
  CHECK((hit.cached && same(hit, known)));
  CHECK(session.cancel(waiting.ids[1]));
  CHECK(session.try_submit(other, {}, waiting.collector.done()).has_value());
  release_stalls();
  session.drain();
  for (int i = 0; i < 5; ++i) waiting.submit(session, pictures[2], 2);  // places were given back
  session.drain();
  CHECK(balanced(session.metrics()));
}

TEST_CASE("another grid is another result: policies and caps") {
  const Picture picture(1, 32, 32);  // 64 tokens
  TestBundle bundle;
  Session session(bundle.write(), remembering());
  Session plain(bundle.path(), options(1));
  for (int round = 0; round < 2; ++round) {
    for (const char* policy : {"native", "token-cap:36", "token-cap:16", "fast", "balanced", "token-cap:64"}) {
      RunOptions run_options;
      run_options.policy = Policy::parse(policy);
      const Result found = session.run({&picture.view, 1}, nullptr, run_options)[0];
      const Result expected = plain.run({&picture.view, 1}, nullptr, run_options)[0];
      CHECK(same(found, expected));
      CHECK(found.reason.to_string() == expected.reason.to_string());
    }
  }
  CHECK(session.metrics().cache.misses == 3);  // 64, 36 and 16: the presets leave so few tokens alone
}

TEST_CASE("a content stands for the pixels, brings its note back, and is asked for without them") {
  const std::vector<Picture> pictures = some_pictures(2);
  TestBundle bundle;
  Session session(bundle.write(), remembering());
  std::string note;
  const Content content = content_of(1, "turned upright");
  CHECK(!recall(session, content.digest, note));
  SubmitOptions submit_options;
  submit_options.content = content;
  const Result first = session.submit(borrowed(pictures[0]), submit_options).result.get();
  const std::optional<Result> known = recall(session, content.digest, note, std::nullopt, 9);
  REQUIRE(known.has_value());
  CHECK((known->cached && known->tag == 9 && known->id != 0 && same(*known, first)));
  CHECK(note == "turned upright");
  CHECK((known->image.height_px == pictures[0].view.height_px && known->image.width_px == pictures[0].view.width_px));
  CHECK(!recall(session, content.digest, note, Policy::token_cap(1)));
  CHECK(!recall(session, content.digest, note, Policy::latency(1e6)));
  CHECK(!recall(session, content_of(2).digest, note));

  const std::vector<std::optional<Content>> contents{content_of(3, "three"), std::nullopt};
  RunOptions run_options;
  run_options.contents = contents;
  const std::vector<ImageView> views = views_of(pictures);
  CHECK_THROWS_WITH_AS(session.run({views.data(), 1}, nullptr, run_options), "2 contents for 1 images", InvalidInput);
  const std::vector<Result> results = session.run(views, nullptr, run_options);
  CHECK((!results[0].cached && !results[1].cached));
  REQUIRE(recall(session, contents[0]->digest, note).has_value());
  CHECK(note == "three");
  CHECK(!recall(session, std::nullopt, note).has_value());
  CHECK(session.submit(borrowed(pictures[1])).result.get().cached);
  CHECK(session.metrics().deadlines_met == 2);
  CHECK(balanced(session.metrics()));
}

TEST_CASE("a stream over a still camera computes one frame and hands out all, in order") {
  const Picture picture(1, 30, 40);
  TestBundle bundle;
  Session session(bundle.write(), remembering());
  (void)take_stats();
  Stream stream(session);
  std::thread feeder([&] {
    for (std::uint64_t i = 0; i < 200; ++i) stream.push({picture.view, nullptr}, i);
    stream.finish();
  });
  std::uint64_t expected = 0;
  std::vector<float> logits;
  while (const std::optional<Result> result = stream.pop()) {
    CHECK(result->tag == expected++);
    if (logits.empty()) logits = values(result->logits);
    CHECK(values(result->logits) == logits);
  }
  feeder.join();
  CHECK(expected == 200);
  CHECK(take_stats().runs == 1);
}

TEST_CASE("submits, runs and cancels of eight threads give the numbers of a session that remembers nothing") {
  const std::vector<Picture> pictures = some_pictures(10);
  const std::vector<ImageView> views = views_of(pictures);
  TestBundle bundle;
  Session plain(bundle.write(), options(1));
  const std::vector<Result> expected = plain.run(views);
  Session session(bundle.path(), remembering(2, 12000));  // of which there is room for some
  std::vector<std::thread> callers;
  std::atomic<int> done{0};
  for (unsigned c = 0; c < 8; ++c) {
    callers.emplace_back([&, c] {
      std::mt19937 random(c);
      for (int step = 0; step < 60; ++step) {
        if (c == 0 && step % 6 == 0) {
          const std::vector<Result> run = session.run(views);
          for (std::size_t i = 0; i < views.size(); ++i) CHECK(same(run[i], expected[i]));
          continue;
        }
        SubmitOptions submit_options;
        submit_options.tag = random() % pictures.size();
        submit_options.priority = static_cast<std::int32_t>(random() % 3);
        const std::uint64_t id =
            session.submit(borrowed(pictures[submit_options.tag]), submit_options, [&](Result&& result) {
              ++done;
              if (result.error == nullptr) CHECK(same(result, expected[result.tag]));
              CHECK(result.error == nullptr || contains(message_of(result.error), "was cancelled"));
            });
        if (random() % 5 == 0) (void)session.cancel(id);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  session.drain();
  CHECK(done == 8 * 60 - 10);
  const Metrics metrics = session.metrics();
  CHECK(balanced(metrics));
  CHECK(metrics.cache.bytes <= metrics.cache.most_bytes);
  CHECK(metrics.cache.evictions > 0);
  CHECK(take_stats().misuse == 0);
}

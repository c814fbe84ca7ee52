// Cascades within a session: which results stand, which images run again, and that each is answered once.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "navit_edge/error.h"
#include "session/cascade.h"
#include "support/check.h"
#include "support/held_session.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

constexpr std::int32_t kFirst = 20;

SessionOptions with(const Policy& policy, std::uint64_t cache_bytes = 0) {
  SessionOptions session_options = options(2);
  session_options.policy = policy;
  session_options.cache_bytes = cache_bytes;
  return session_options;
}

/// Logits of 0 to 4, so that probabilities differ.
struct Classes : TestBundle {
  explicit Classes(std::map<std::string, std::string> engine_options = {}, int images_of_a_pack = 6) {
    engine_options["logit_divisor"] = "4194304";
    json["engines"][0]["options"] = engine_options;
    json["engines"][0]["budgets"][0]["images"] = images_of_a_pack;
    write();
  }
};

/// The best of three probabilities, or how far it is above the second.
double score_of(const Result& result, CascadeScore by) {
  std::vector<float> logits = values(result.logits);
  std::ranges::sort(logits, std::greater<>());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  const double best = std::exp(static_cast<double>(logits[0])) / sum;
  return by == CascadeScore::kProbability ? best : best - std::exp(static_cast<double>(logits[1])) / sum;
}

/// What single passes give: at `kFirst` tokens, and without a policy.
struct Singles {
  explicit Singles(const std::vector<Picture>& pictures) {
    const Classes bundle;
    first = Session(bundle.path(), with(Policy::token_cap(kFirst))).run(views_of(pictures));
    native = Session(bundle.path(), options()).run(views_of(pictures));
  }
  /// Half of the images that have more than `kFirst` tokens are accepted.
  [[nodiscard]] Policy cascade(CascadeScore by = CascadeScore::kProbability) const {
    std::vector<double> scores;
    for (std::size_t i = 0; i < first.size(); ++i) {
      if (first[i].grid != native[i].grid) scores.push_back(score_of(first[i], by));
    }
    std::ranges::sort(scores);
    return Policy::cascade({kFirst, scores[scores.size() / 2], by, 0});
  }
  /// Says whether it was run twice.
  bool check(const Result& found, std::size_t i, const Policy& policy) const {
    if (first[i].grid == native[i].grid) {
      CHECK((same(found, native[i]) && found.reason.empty() && found.total_tokens == found.tokens));
      return false;
    }
    const CascadeOptions& cascade = policy.cascade_options();
    const double score = score_of(first[i], cascade.by);
    CHECK(std::abs(found.reason.score - score) < 1e-9);
    const bool again = score < cascade.accept;
    CHECK(same(found, again ? native[i] : first[i]));
    CHECK(found.reason.step == (again ? CascadeStep::kSecond : CascadeStep::kAccepted));
    CHECK(found.total_tokens == (again ? first[i].tokens + native[i].tokens : first[i].tokens));
    CHECK(found.reason.fewer_tokens() == !again);
    return again;
  }
  std::vector<Result> first;
  std::vector<Result> native;
};

bool balanced(const Metrics& metrics) {
  return metrics.submitted == metrics.completed + metrics.failures() + metrics.cancelled && metrics.waiting == 0 &&
         metrics.in_flight == 0;
}

/// A cascade that accepts nothing.
Policy always_again() { return Policy::cascade({kFirst, 1.0, CascadeScore::kMargin, 0}); }

SessionOptions one_slot(const Policy& policy) {
  SessionOptions session_options = with(policy);
  session_options.slots = 1;
  return session_options;
}

}  // namespace

TEST_CASE("a score is the best probability or its distance from the second, of softmax and of sigmoid") {
  const std::vector<float> logits{-1.0F, 2.5F, 0.5F};
  const double sum = std::exp(-1.0) + std::exp(2.5) + std::exp(0.5);
  const auto sigmoid = [](double logit) { return 1 / (1 + std::exp(-logit)); };
  const auto near = [](double a, double b) { return std::abs(a - b) < 1e-12; };
  CHECK(near(cascade_score(logits, Scores::kSoftmax, CascadeScore::kProbability), std::exp(2.5) / sum));
  CHECK(near(cascade_score(logits, Scores::kSoftmax, CascadeScore::kMargin), (std::exp(2.5) - std::exp(0.5)) / sum));
  CHECK(near(cascade_score(logits, Scores::kSigmoid, CascadeScore::kProbability), sigmoid(2.5)));
  CHECK(near(cascade_score(logits, Scores::kSigmoid, CascadeScore::kMargin), sigmoid(2.5) - sigmoid(0.5)));
  const std::vector<float> one{-800.0F};  // nothing overflows, and a second class that is not there has probability 0
  for (const CascadeScore by : {CascadeScore::kProbability, CascadeScore::kMargin}) {
    CHECK(near(cascade_score(one, Scores::kSoftmax, by), 1));
    CHECK(near(cascade_score(one, Scores::kSigmoid, by), 0));
  }
}

TEST_CASE("an accepted result has the bits of the first pass alone, another one those of the second") {
  const std::vector<Picture> pictures = some_pictures(40);
  const Singles singles(pictures);
  const Classes bundle;
  for (const CascadeScore by : {CascadeScore::kProbability, CascadeScore::kMargin}) {
    const Policy policy = singles.cascade(by);
    Session session(bundle.path(), with(policy));
    RunReport report;
    std::vector<std::size_t> told;
    RunOptions run_options;
    run_options.progress = [&](std::size_t done, std::size_t) { told.push_back(done); };
    const std::vector<Result> run = session.run(views_of(pictures), &report, run_options);
    std::uint64_t again = 0;
    std::uint64_t accepted = 0;
    std::int64_t tokens = 0;
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      again += singles.check(run[i], i, policy) ? 1U : 0U;
      accepted += run[i].reason.step == CascadeStep::kAccepted ? 1U : 0U;
      tokens += run[i].total_tokens;
      const PackReport& pack = report.packs[static_cast<std::size_t>(run[i].pack)];
      CHECK(pack.capacity == run[i].pack_tokens);
    }
    CHECK((again > 5 && accepted > 5));
    CHECK((told.back() == pictures.size() && std::ranges::is_sorted(told)));
    Metrics metrics = session.metrics();
    CHECK((metrics.cascade_again == again && metrics.cascade_accepted == accepted && metrics.cascade_kept == 0));
    CHECK(metrics.tokens_used == static_cast<std::uint64_t>(tokens));
    CHECK((balanced(metrics) && metrics.completed == pictures.size()));
    std::vector<std::future<Result>> submitted;
    for (const Picture& picture : pictures) submitted.push_back(session.submit(borrowed(picture)).result);
    for (std::size_t i = 0; i < pictures.size(); ++i) (void)singles.check(submitted[i].get(), i, policy);
    metrics = session.metrics();
    CHECK((metrics.cascade_again == 2 * again && metrics.completed == 2 * pictures.size()));
    CHECK(eventually([&] { return balanced(session.metrics()); }));
  }
}

TEST_CASE("the second pass has at most the tokens of `then`, and both passes are told") {
  const Picture picture(1, 32, 32);  // 64 tokens
  const Classes bundle;
  Session session(bundle.path(), options());
  const auto run = [&](const CascadeOptions& cascade) {
    RunOptions run_options;
    run_options.policy = Policy::cascade(cascade);
    return session.run({&picture.view, 1}, nullptr, run_options)[0];
  };
  const Result capped = run({16, 1.0, CascadeScore::kMargin, 36});
  CHECK((capped.tokens == 36 && capped.total_tokens == 52));
  CHECK(contains(capped.reason.to_string(), "run again at 36 tokens (margin 0."));
  const Result all = run({16, 1.0, CascadeScore::kMargin, 0});
  CHECK((all.tokens == 64 && all.total_tokens == 80 && !all.reason.fewer_tokens()));
  CHECK(contains(all.reason.to_string(), "run again at 64 tokens (margin 0."));
  const Result accepted = run({16, 0.0, CascadeScore::kProbability, 0});
  CHECK((accepted.tokens == 16 && accepted.total_tokens == 16));
  CHECK(contains(accepted.reason.to_string(), "accepted at 16 tokens ("));
  const Result small = run({64, 1.0, CascadeScore::kProbability, 0});
  CHECK((small.tokens == 64 && small.total_tokens == 64 && small.reason.empty()));
}

TEST_CASE("a bundle without logits refuses a cascade, its session or the image that asks for it") {
  const Picture picture(1, 32, 32);
  TestBundle bundle;
  bundle.json["graphs"][0]["outputs"].erase(0);
  CHECK_THROWS_WITH_AS(Session(bundle.write(), with(Policy::cascade())),
                       "policy cascade:128,0.8: the bundle gives embedding, tokens and no logits", InvalidInput);
  Session session(bundle.path(), options());
  SubmitOptions submit_options;
  submit_options.policy = Policy::cascade();
  Submitted bad = session.submit(borrowed(picture), submit_options);
  CHECK_THROWS_WITH_AS(bad.result.get(), "no logits, by which a first result could be accepted", InvalidInput);
  CHECK(session.submit(borrowed(picture)).result.get().tokens == 64);
}

TEST_CASE("pixels are released once, after the pass that reads them last") {
  const Picture picture(1, 32, 32);
  const Classes bundle({{"stall_on_run", "0"}}, 1);
  (void)take_stats();
  Session session(bundle.path(), with(always_again()));
  auto owner = std::make_shared<int>(0);
  const std::weak_ptr<int> alive = owner;
  std::future<Result> result = session.submit({picture.view, std::move(owner)}).result;
  REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
  CHECK(!alive.expired());  // it has been read, and may be read again
  release_stalls();
  CHECK(result.get().tokens == 64);
  CHECK(eventually([&] { return alive.expired(); }));
}

TEST_CASE("an image can be cancelled between its passes, and closing cancels it") {
  const std::vector<Picture> pictures(3, Picture(1, 32, 32));
  for (const bool close : {false, true}) {
    const Classes bundle({{"stall_every", "1"}}, 1);
    (void)take_stats();
    Session session(bundle.path(), one_slot(always_again()));
    Collector collector;
    SubmitOptions urgent;
    urgent.priority = 1;
    const std::uint64_t id = session.submit(borrowed(pictures[0]), {}, collector.done());
    REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
    (void)session.submit(borrowed(pictures[1]), urgent, collector.done());
    release_stalls();
    REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 2; }));
    if (close) {
      std::thread closing([&] { session.close(); });
      REQUIRE(eventually([&] { return collector.size() >= 1; }));
      release_stalls();
      closing.join();
    } else {
      CHECK(session.cancel(id));
      REQUIRE(eventually([&] {
        release_stalls();
        return collector.size() == 2;
      }));
      session.drain();
    }
    const std::vector<Result> results = collector.take();
    REQUIRE(results.size() == 2);
    for (const Result& one : results)
      CHECK((one.id != id || contains(message_of(one.error), close ? "closed" : "cancelled")));
    CHECK(balanced(session.metrics()));
    CHECK(session.metrics().cancelled == (close ? 2U : 1U));
  }
}

TEST_CASE("an image whose second pass fails has that error, in a run and submitted") {
  const std::vector<Picture> pictures(4, Picture(1, 32, 32));
  const Classes bundle({{"fail_on_run", "1"}}, 6);
  {
    Session session(bundle.path(), one_slot(always_again()));
    std::size_t failed = 0;
    for (const Result& result : session.run(views_of(pictures))) {  // a pack of four, then four packs
      failed += contains(message_of(result.error), "of 5 (1 images, 64 tokens) failed") ? 1U : 0U;
      CHECK((result.error != nullptr || result.tokens == 64));
    }
    CHECK((failed == 1 && balanced(session.metrics()) && session.metrics().failures() == 1));
  }
  Session session(bundle.path(), one_slot(always_again()));
  CHECK_THROWS_WITH_AS(session.submit(borrowed(pictures[0])).result.get(), "failed", BackendError);
  CHECK(session.submit(borrowed(pictures[0])).result.get().tokens == 64);
  CHECK(balanced(session.metrics()));
}

TEST_CASE("a run that is stopped in its first pass has no second") {
  const std::vector<Picture> pictures(4, Picture(1, 32, 32));
  const Classes bundle({}, 1);
  Session session(bundle.path(), with(always_again()));
  RunOptions run_options;
  run_options.progress = [](std::size_t, std::size_t) { throw std::runtime_error("enough"); };
  CHECK_THROWS_WITH_AS(session.run(views_of(pictures), nullptr, run_options), "enough", std::runtime_error);
  CHECK(balanced(session.metrics()));
  CHECK(session.metrics().completed == 0);
  session.close();
  CHECK_THROWS_WITH_AS(session.run(views_of(pictures)), "closed", Cancelled);
}

TEST_CASE("what is remembered of a cascade is its last result, and no other policy's") {
  const std::vector<Picture> pictures = some_pictures(24);
  const Singles singles(pictures);
  const Policy policy = singles.cascade();
  const Classes bundle;
  Session session(bundle.path(), with(policy, 1 << 20));
  std::vector<ImageView> views = views_of(pictures);
  views.insert(views.end(), views.begin(), views.end());  // twins, in one run
  const std::vector<Result> run = session.run(views);
  for (std::size_t i = 0; i < views.size(); ++i) {
    (void)singles.check(run[i], i % pictures.size(), policy);
    CHECK(run[i].cached == (i >= pictures.size()));
  }
  (void)take_stats();
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const Result one = session.submit(borrowed(pictures[i])).result.get();
    (void)singles.check(one, i, policy);
    CHECK(one.cached);
  }
  CHECK(take_stats().runs == 0);
  RunOptions first;
  first.policy = Policy::token_cap(kFirst);
  const std::vector<Result> capped = session.run(views_of(pictures), nullptr, first);
  for (std::size_t i = 0; i < pictures.size(); ++i) CHECK(same(capped[i], singles.first[i]));
  CHECK(balanced(session.metrics()));
}

TEST_CASE("a deadline that leaves no second pass keeps the first result, for that image alone") {
  const Picture picture(1, 32, 32);
  const Classes bundle({{"stall_on_run", "0"}}, 1);
  Session session(bundle.path(), [] {
    SessionOptions session_options = one_lane();
    session_options.policy = always_again();
    session_options.cache_bytes = 1 << 20;
    return session_options;
  }());
  std::future<Result> held = hold(session, Picture(2, 32, 32));
  SubmitOptions late;
  late.deadline_us = 1;
  std::future<Result> kept = session.submit(borrowed(picture), late).result;
  std::future<Result> twin = session.submit(borrowed(picture)).result;  // waits for the same
  release_stalls();
  const Result first = kept.get();
  CHECK((first.reason.step == CascadeStep::kKept && first.tokens == 20 && first.total_tokens == 20));
  CHECK(contains(first.reason.to_string(), "kept at 20 tokens (margin 0."));
  CHECK(contains(first.reason.to_string(), "the deadline leaves no second pass"));
  CHECK(twin.get().tokens == 64);
  CHECK(held.get().tokens == 64);
  CHECK(session.submit(borrowed(picture)).result.get().tokens == 64);
  const Metrics metrics = session.metrics();
  CHECK((metrics.cascade_kept == 1 && metrics.cascade_again == 2));
  CHECK(balanced(metrics));
}

TEST_CASE("with several devices a pack of either pass that fails runs on another, and all are answered once") {
  const std::vector<Picture> pictures = some_pictures(60);
  const Singles singles(pictures);
  const Policy policy = singles.cascade();
  TestBundle bundle;
  bundle.json["engines"][0] = TestBundle::engine("fake-gpu", "fake-gpu", "sm89");
  bundle.json["engines"][0]["options"] = {{"fail_every", "7"}, {"logit_divisor", "4194304"}};
  SessionOptions session_options = with(policy);
  session_options.devices = {"0", "1"};
  Session session(bundle.write(), session_options);
  std::size_t failed = 0;
  const std::vector<Result> run = session.run(views_of(pictures));
  std::vector<std::future<Result>> submitted;
  for (const Picture& picture : pictures) submitted.push_back(session.submit(borrowed(picture)).result);
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    if (run[i].error != nullptr) {
      ++failed;
    } else {
      (void)singles.check(run[i], i, policy);
    }
    try {
      (void)singles.check(submitted[i].get(), i, policy);
    } catch (const BackendError&) {
      ++failed;
    }
  }
  CHECK(eventually([&] { return balanced(session.metrics()); }));
  CHECK(session.metrics().failures() == failed);
  CHECK(session.metrics().submitted == 2 * pictures.size());
}

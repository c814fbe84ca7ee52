// Policies within a session: whose counts, what a latency target knows of the queue, and what choosing costs.
#include <string>
#include <vector>

#include "navit_edge/choice.h"
#include "navit_edge/error.h"
#include "sizing/sizer.h"
#include "support/check.h"
#include "support/counting_allocator.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

/// Tokens cost a millisecond each, and nothing else costs anything.
void price_tokens(TestBundle& bundle) {
  bundle.json["engines"][0]["cost"] =
      TestBundle::cost(nlohmann::json::array({{{"fixed_us", 0.0}, {"us_per_token", 1000.0}, {"us_per_score", 0.0}}}));
}

}  // namespace

TEST_CASE("an image follows its own policy, then that of its run, then the session's") {
  const Picture picture(1, 32, 32);  // 64 tokens
  TestBundle bundle;
  SessionOptions session_options = options();
  session_options.policy = Policy::token_cap(36);
  Session session(bundle.write(), session_options);
  const auto tokens = [](const Result& result) { return result.grid.tokens(); };
  CHECK(tokens(session.run({&picture.view, 1})[0]) == 36);
  RunOptions run_options;
  run_options.policy = Policy::token_cap(16);
  CHECK(tokens(session.run({&picture.view, 1}, nullptr, run_options)[0]) == 16);
  CHECK(tokens(session.submit({picture.view, nullptr}).result.get()) == 36);
  SubmitOptions submit_options;
  submit_options.policy = Policy::native();
  const Result native = session.submit({picture.view, nullptr}, submit_options).result.get();
  CHECK(tokens(native) == 64);
  CHECK(native.reason.empty());
}

TEST_CASE("a capped image gives the bits of a session with that cap") {
  const std::vector<Picture> pictures = some_pictures(20);
  TestBundle bundle;
  Session session(bundle.write(), options());
  for (const std::int32_t cap : {1, 9, 40}) {
    SessionOptions capped_options = options();
    capped_options.max_tokens_per_image = cap;
    Session capped_session(bundle.write(), capped_options);
    const std::vector<Result> expected = capped_session.run(views_of(pictures));
    RunOptions run_options;
    run_options.policy = Policy::token_cap(cap);
    const std::vector<Result> found = session.run(views_of(pictures), nullptr, run_options);
    for (std::size_t i = 0; i < pictures.size(); ++i) CHECK(same(found[i], expected[i]));
  }
}

TEST_CASE("a policy that the sizing rule does not allow fails the session that has it, or the image that asks for it") {
  const Picture picture(1, 32, 32);
  TestBundle bundle;
  bundle.json["preprocess"]["sizing"] = {{"rule", "fixed"}, {"height_px", 32}, {"width_px", 32}};
  SessionOptions session_options = options();
  session_options.policy = Policy::preset("fast");
  CHECK_THROWS_WITH_AS(Session(bundle.write(), session_options), "policy fast: the bundle's sizing rule fixed",
                       InvalidInput);
  Session session(bundle.write(), options());
  SubmitOptions submit_options;
  submit_options.policy = Policy::preset("fast");
  Submitted bad = session.submit({picture.view, nullptr}, submit_options);
  CHECK_THROWS_WITH_AS(bad.result.get(), "policy fast: the bundle's sizing rule fixed", InvalidInput);
  CHECK(session.submit({picture.view, nullptr}).result.get().tokens == 64);
}

TEST_CASE("a latency target counts what waits in the queue and in the engine") {
  const Picture picture(1, 32, 32);
  TestBundle bundle;
  price_tokens(bundle);
  bundle.json["engines"][0]["options"] = {{"stall_on_run", "0"}};  // nothing is learned before all are submitted
  (void)take_stats();
  SessionOptions session_options = options();
  session_options.slots = 1;  // one engine, so that one run stalls
  Session session(bundle.write(), session_options);
  SubmitOptions submit_options;
  submit_options.policy = Policy::latency(150000, 16);
  std::vector<Submitted> submitted;
  for (int i = 0; i < 16; ++i) submitted.push_back(session.submit({picture.view, nullptr}, submit_options));
  REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs >= 1; }));
  release_stalls();
  EngineLimits engine;
  engine.budgets = {{128, 6, 96, 0}};
  engine.cost.dynamic_tokens = true;
  engine.cost.measured = true;
  engine.cost.budgets = {{0, 1000, 0}};
  PreprocessSpec preprocess;
  preprocess.patch_px = 4;
  preprocess.sizing.rule = TokenCap{64};
  std::vector<Result> results;
  for (Submitted& one : submitted) results.push_back(one.result.get());
  CHECK(results[0].grid.tokens() == 64);
  CHECK(!results[0].reason.fewer_tokens());
  int reduced = 0;
  double waited_before = 0;
  for (const Result& result : results) {
    if (!result.reason.fewer_tokens()) continue;  // one that is late has a reason, too
    ++reduced;
    // 64 ms each, but for what has run of them: the first one waits for nobody.
    CHECK(result.reason.waiting_us > waited_before - 64000);
    waited_before = result.reason.waiting_us;
    const Load load{result.reason.waiting_us, 1};
    // No more than the wait leaves time for; on a busy machine fewer, by what the first one's resize has taken.
    const Grid chosen = choose_grid(result.image, preprocess, Policy::latency(150000, 16), engine, load, nullptr).grid;
    CHECK(result.grid.tokens() <= chosen.tokens());
    CHECK(result.grid.tokens() >= 16);
  }
  CHECK(reduced >= 3);
  CHECK(results.back().reason.missed);
  CHECK(results.back().grid.tokens() == 16);
}

TEST_CASE("an engine that is slower than its cost model gets fewer tokens once a pack has told of it") {
  const Picture picture(1, 32, 32);
  TestBundle bundle;
  price_tokens(bundle);
  bundle.json["engines"][0]["options"] = {{"stall_us", "0"}, {"us_per_token", "4000"}};  // at least: four times as long
  for (const bool by_run : {false, true}) {
    Session session(bundle.write(), options());
    RunOptions run_options;
    SubmitOptions submit_options;
    run_options.policy = submit_options.policy = Policy::latency(70000, 4);
    for (int i = 0; i < 3; ++i) {
      const Result result = by_run ? std::move(session.run({&picture.view, 1}, nullptr, run_options)[0])
                                   : session.submit({picture.view, nullptr}, submit_options).result.get();
      CHECK((i == 0 ? result.grid.tokens() == 64 : result.grid.tokens() <= 16));
    }
  }
}

TEST_CASE("a latency target that was missed is said and counted, and what was spent before counts") {
  const Picture picture(1, 32, 32);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "20000"}};
  Session session(bundle.write(), options());
  const auto asked = [](double target_us, double spent_us) {
    SubmitOptions submit_options;
    submit_options.policy = Policy::latency(target_us, 64);
    submit_options.spent_us = spent_us;
    return submit_options;
  };
  const auto given = [&](const SubmitOptions& one) {
    return session.submit({picture.view, nullptr}, one).result.get().reason;
  };
  CHECK(given(asked(3e9, 0)).empty());
  const Reason late = given(asked(10000, 0));
  CHECK(late.missed_by_us > 10000);
  CHECK(late.to_string().find("; missed by ") != std::string::npos);
  CHECK(given(asked(3e9, 3.1e9)).missed_by_us >= 100e6);
  RunOptions run_options;
  run_options.policy = Policy::latency(10000, 64);
  const std::vector<ImageView> views(3, picture.view);
  for (const Result& result : session.run(views, nullptr, run_options)) CHECK(result.reason.missed_by_us > 0);
  CHECK(session.metrics().targets_met == 1);
  CHECK(session.metrics().targets_missed == 5);
  CHECK_THROWS_WITH_AS(given(asked(10000, -1)), "spent_us is -1", InvalidInput);
}

TEST_CASE("all images of a run share a latency target") {
  const std::vector<Picture> pictures(5, Picture(1, 32, 32));
  TestBundle bundle;
  price_tokens(bundle);
  Session session(bundle.write(), options());
  RunOptions run_options;
  run_options.policy = Policy::latency(130000, 9);
  RunReport report;
  const std::vector<Result> results = session.run(views_of(pictures), &report, run_options);
  for (const Result& result : results) {
    CHECK(result.grid.tokens() == 25);  // of 26 each
    // Behind it by how much it was missed, on a machine that is busy.
    CHECK(result.reason.to_string().starts_with("latency 130 ms: 25 of 64 tokens (predicted 125.0 ms for 5 images)"));
  }
  CHECK(report.predicted_us <= 130000);
}

TEST_CASE("an image above the budget is scaled down behind its policy, and both are told") {
  const Picture picture(1, 32, 32);
  TestBundle bundle;
  bundle.json["engines"][0]["budgets"] =
      nlohmann::json::array({{{"tokens", 30}, {"images", 6}, {"target_tokens", 30}}});
  SessionOptions session_options = options();
  session_options.overflow = Overflow::kDownscale;
  Session session(bundle.write(), session_options);
  RunOptions run_options;
  run_options.policy = Policy::token_cap(49);
  const Result result = session.run({&picture.view, 1}, nullptr, run_options)[0];
  CHECK(result.grid == Grid{6, 5});
  CHECK(result.reason.to_string() ==
        "token cap 49: 49 of 64 tokens; needs 49 tokens (7 x 7 patches); the engine takes 30; scaled down to 6 x 5 "
        "patches");
}

TEST_CASE("choosing allocates nothing, whatever the rule and the policy") {
  const Picture picture(1, 300, 500);
  for (const char* sizing :
       {R"({"rule": "token-cap", "max_tokens": 1024})", R"({"rule": "native", "fit": "crop"})",
        R"({"rule": "naflex", "max_tokens": 256})", R"({"rule": "longest-side", "longest_px": 200})",
        R"({"rule": "smart-resize", "merge": 2, "min_pixels": 64, "max_pixels": 99999})"}) {
    TestBundle bundle;
    bundle.json["preprocess"]["sizing"] = nlohmann::json::parse(sizing);
    bundle.json["engines"][0]["budgets"] =
        nlohmann::json::array({{{"tokens", 20000}, {"images", 6}, {"target_tokens", 20000}}});
    const Manifest manifest = Manifest::load(bundle.write());
    const Sizer sizer(manifest, {}, manifest.engines[0]);
    for (const char* text :
         {"native", "token-cap:100", "fast", "balanced", "quality", "latency:5ms", "content", "cascade:50"}) {
      const Policy policy = Policy::parse(text);
      Result result;
      result.image = picture.view.size();
      sizer.size(0, result, policy, {100, 3}, &picture.view);
      const std::int64_t before = counting::allocations();
      for (int i = 0; i < 20; ++i) sizer.size(0, result, policy, {100, 3}, &picture.view);
      const std::int64_t made = counting::allocations() - before;  // CHECK allocates, too
      CHECK(made == 0);
      CHECK(result.tokens > 0);
    }
  }
}

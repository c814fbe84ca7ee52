// The C interface: the same numbers as the C++ one, who owns what, and what it refuses.
#include <atomic>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "c_api/c_caller.h"
#include "c_api/c_fixture.h"
#include "support/check.h"

using namespace navit_edge;

TEST_CASE("a caller in C99 gets the numbers of the C++ session, by run and by submit") {
  const std::vector<Picture> pictures = some_pictures(12);
  TestBundle bundle;
  bundle.write();
  std::vector<c_caller_picture> given;
  for (const Picture& one : pictures) given.push_back({one.view.data, one.view.height_px, one.view.width_px});
  c_caller_sums by_run{}, by_submit{};
  std::int32_t released = 0;
  char message[1024];
  CHECK(c_caller(bundle.path().c_str(), kFakes.c_str(), given.data(), given.size(), &by_run, &by_submit, &released,
                 message, sizeof(message)) == 0);
  CHECK(std::string(message).empty());
  c_caller_sums expected{};
  Session session(bundle.path(), options());
  for (const Result& result : session.run(views_of(pictures))) {
    expected.tokens += result.tokens;
    for (const float value : result.logits.values()) expected.logits += static_cast<double>(value);
  }
  for (const c_caller_sums& sums : {by_run, by_submit}) {
    CHECK(sums.done == 12);
    CHECK(sums.failed == 0);
    CHECK(sums.tokens == expected.tokens);
    CHECK(sums.logits == expected.logits);  // whole numbers below 2^53: in any order
  }
  CHECK(released == 12);
}

TEST_CASE("a policy, as text, is that of C++; one that is none is refused") {
  const Picture picture(3, 60, 60);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"logit_divisor", "4194304"}};
  CSession opened(bundle.write());
  const navit_edge_c_image image = c_image(picture.view);
  navit_edge_c_run_options run{};
  run.struct_size = sizeof(run);
  run.policy = "token-cap:4";
  navit_edge_c_results* results = nullptr;
  REQUIRE(navit_edge_c_run(opened.session, &image, 1, &run, &results, nullptr) == 0);
  navit_edge_c_result result{};
  result.struct_size = sizeof(result);
  REQUIRE(navit_edge_c_get(results, 0, &result, nullptr) == 0);
  Session session(bundle.path(), options());
  const Result expected = session.run(std::vector{picture.view}, nullptr, {nullptr, Policy::token_cap(4)}).at(0);
  CHECK(result.grid_rows * result.grid_cols <= 4);
  CHECK(result.grid_rows == expected.grid.rows);
  CHECK(result.grid_cols == expected.grid.cols);
  CHECK(std::string(result.reason) == expected.reason.to_string());
  CHECK(!std::string(result.reason).empty());
  CHECK(result.total_tokens == result.tokens);
  navit_edge_c_free_results(results);
  run.policy = "cascade:4,1";  // accepts nothing: both passes count
  REQUIRE(navit_edge_c_run(opened.session, &image, 1, &run, &results, nullptr) == 0);
  REQUIRE(navit_edge_c_get(results, 0, &result, nullptr) == 0);
  CHECK((result.tokens == 64 && result.total_tokens == expected.tokens + 64));
  CHECK(contains(result.reason, "run again at 64 tokens (0."));
  navit_edge_c_free_results(results);
  run.policy = "frugal";
  navit_edge_c_error error{};
  CHECK(navit_edge_c_run(opened.session, &image, 1, &run, &results, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(contains(error.message, "frugal"));
}

TEST_CASE("results outlive the session, and hold everything the C++ result does") {
  std::vector<Picture> pictures = some_pictures(5);
  pictures[3].view.height_px = 0;
  TestBundle bundle;
  CSession opened(bundle.write());
  const auto images = c_images(pictures);
  navit_edge_c_results* results = nullptr;
  REQUIRE(navit_edge_c_run(opened.session, images.data(), images.size(), nullptr, &results, nullptr) == 0);
  opened.close();
  Session session(bundle.path(), options());
  const std::vector<Result> expected = session.run(views_of(pictures));
  REQUIRE(navit_edge_c_count(results) == 5);
  for (std::size_t i = 0; i < 5; ++i) {
    navit_edge_c_result one{};
    one.struct_size = sizeof(one);
    REQUIRE(navit_edge_c_get(results, i, &one, nullptr) == 0);
    CHECK(one.height_px == expected[i].image.height_px);
    if (i == 3) {
      CHECK(one.code == NAVIT_EDGE_C_INVALID_INPUT);
      CHECK(one.message == message_of(expected[i].error));
      CHECK(one.logits.data == nullptr);
      continue;
    }
    CHECK(one.code == NAVIT_EDGE_C_OK);
    CHECK(std::string(one.message).empty());
    CHECK((one.grid_rows == expected[i].grid.rows && one.grid_cols == expected[i].grid.cols));
    CHECK((one.scale_y == expected[i].placement.scale_y && one.scale_x == expected[i].placement.scale_x));
    CHECK((one.tokens == expected[i].tokens && one.pack == expected[i].pack));
    CHECK(values(one.logits) == values(expected[i].logits));
    CHECK(values(one.embedding) == values(expected[i].embedding));
    CHECK(values(one.features) == values(expected[i].token_features));
    CHECK(one.features.rows == one.grid_rows * one.grid_cols);
  }
  navit_edge_c_error error{};
  navit_edge_c_result one{};
  one.struct_size = sizeof(one);
  CHECK(navit_edge_c_get(results, 5, &one, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(contains(error.message, "there is no result 5; there are 5"));
  navit_edge_c_free_results(results);
}

TEST_CASE("values of patches come onto the image as in C++") {
  std::vector<Picture> pictures = some_pictures(4);
  pictures[2].view.height_px = 0;
  TestBundle bundle;
  CSession opened(bundle.write());
  const auto images = c_images(pictures);
  navit_edge_c_run_options run{};
  run.struct_size = sizeof(run);
  navit_edge_c_results* results = nullptr;
  REQUIRE(navit_edge_c_run(opened.session, images.data(), images.size(), &run, &results, nullptr) == 0);
  opened.close();  // results need no session
  Session session(bundle.path(), options());
  const std::vector<Result> expected = session.run(views_of(pictures));
  navit_edge_c_map_options how{};
  how.struct_size = sizeof(how);
  how.nearest = 1;
  how.height_px = 9;
  how.width_px = 7;
  how.filled = 1;
  how.fill = -1;
  const MapOptions same{Filter::kNearest, -1, {9, 7}};
  navit_edge_c_error error{};
  for (const std::size_t i : {0, 1, 3}) {
    navit_edge_c_result one{};
    one.struct_size = sizeof(one);
    REQUIRE(navit_edge_c_get(results, i, &one, nullptr) == 0);
    const navit_edge_c_view& map = one.features;
    const std::vector<float> whole = expected[i].on_image(expected[i].token_features.values(), map.cols);
    std::vector<float> picture(whole.size() + 1, -2.0F);
    REQUIRE(navit_edge_c_on_image(results, i, map.data, map.rows, map.cols, nullptr, picture.data(), whole.size(),
                                  &error) == 0);
    CHECK(picture.back() == -2.0F);
    picture.pop_back();
    CHECK(picture.size() == static_cast<std::size_t>(one.height_px) * one.width_px * map.cols);
    CHECK(picture == whole);
    std::vector<float> small(std::size_t{9} * 7 * map.cols);
    REQUIRE(navit_edge_c_on_image(results, i, map.data, map.rows, map.cols, &how, small.data(), small.size(), &error) ==
            0);
    CHECK(small == expected[i].on_image(expected[i].token_features.values(), map.cols, same));
    CHECK(navit_edge_c_on_image(results, i, map.data, map.rows, map.cols, &how, small.data(), small.size() - 1,
                                &error) == NAVIT_EDGE_C_INVALID_INPUT);
    CHECK(contains(error.message, "expected " + std::to_string(small.size()) + ", height x width x cols"));
  }
  float none = 0;
  const auto fails = [&](std::size_t index, const float* given, std::int64_t rows, std::int64_t cols, float* picture,
                         const std::string& said) {
    CHECK(navit_edge_c_on_image(results, index, given, rows, cols, nullptr, picture, 1, &error) ==
          NAVIT_EDGE_C_INVALID_INPUT);
    CHECK(contains(error.message, said));
  };
  fails(0, nullptr, 1, 1, &none, "values is NULL");
  fails(0, &none, 1, 1, nullptr, "picture is NULL");
  fails(0, &none, 0, 1, &none, "values are [0, 1]; expected a row for each patch");
  fails(0, &none, std::numeric_limits<std::int64_t>::max(), 2, &none, "expected a row for each patch");
  fails(2, &none, 1, 1, &none, "expected one of an image that ran");
  fails(4, &none, 1, 1, &none, "there is no result 4; there are 4");
  navit_edge_c_free_results(results);
  CHECK(navit_edge_c_on_image(nullptr, 0, &none, 1, 1, nullptr, &none, 1, nullptr) == NAVIT_EDGE_C_INVALID_INPUT);
}

TEST_CASE("pixels are released once where they were taken, and never where they were not") {
  const std::vector<Picture> pictures = some_pictures(40);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "20000"}};
  std::atomic<int> released{0};
  int taken = 0, refused = 0;
  Box box;
  {
    CSession opened(bundle.write(), 4);
    navit_edge_c_submit_options no_wait{};
    no_wait.struct_size = sizeof(no_wait);
    no_wait.no_wait = 1;
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      no_wait.tag = 1000 + i;
      const navit_edge_c_image image = c_image(pictures[i].view);
      std::uint64_t id = 99;
      CHECK(navit_edge_c_submit(opened.session, &image, count, &released, &no_wait, Box::done, &box, &id, nullptr) ==
            0);
      (id != 0 ? taken : refused) += 1;
    }
    CHECK(taken > 0);
    CHECK(refused > 0);  // forty at once into a queue of four
    CHECK(navit_edge_c_drain(opened.session, nullptr) == 0);
    CHECK(released == taken);
    CHECK(box.all.size() == static_cast<std::size_t>(taken));

    navit_edge_c_error error{};
    const navit_edge_c_image image = c_image(pictures[0].view);
    std::uint64_t id = 99;
    CHECK(navit_edge_c_submit(opened.session, &image, count, &released, nullptr, nullptr, &box, &id, &error) ==
          NAVIT_EDGE_C_INVALID_INPUT);
    CHECK(contains(error.message, "done is NULL"));
    CHECK(id == 0);
    navit_edge_c_stop(opened.session);
    navit_edge_c_stop(opened.session);
    CHECK(navit_edge_c_submit(opened.session, &image, count, &released, nullptr, Box::done, &box, &id, &error) ==
          NAVIT_EDGE_C_CANCELLED);
    CHECK(id == 0);
    CHECK(released == taken);
  }
  CHECK(released == taken);
  CHECK(box.all.size() == static_cast<std::size_t>(taken));
  for (std::size_t i = 0; i < box.all.size(); ++i) CHECK(box.at(i).tag >= 1000);
}

TEST_CASE(
    "waits for a place and for all results end after their time, and in a callback drain refuses to wait for ever") {
  const std::vector<Picture> pictures = some_pictures(1);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_on_run", "0"}};
  (void)take_stats();
  CSession opened(bundle.write(), 1);
  Box box;
  std::atomic<int> released{0};
  const navit_edge_c_image image = c_image(pictures[0].view);
  navit_edge_c_error error{};
  const auto submit = [&](double wait_us, std::uint64_t& id) {
    navit_edge_c_submit_options how{};
    how.struct_size = sizeof(how);
    how.no_wait = 1;
    how.wait_us = wait_us;
    return navit_edge_c_submit(opened.session, &image, count, &released, &how, Box::done, &box, &id, &error);
  };
  std::uint64_t id = 0;
  CHECK(submit(0, id) == 0);
  REQUIRE(eventually([] { return take_stats("libnavit_edge_fake.so", false).runs == 1; }));
  CHECK(submit(0, id) == 0);
  CHECK(id != 0);
  for (const double wait_us : {0.0, 1000.0}) {
    CHECK(submit(wait_us, id) == 0);
    CHECK(id == 0);
  }
  CHECK(submit(-1, id) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(contains(error.message, "timeout_us is -1"));
  std::int32_t drained = 7;
  CHECK(navit_edge_c_drain_for(opened.session, 1000, &drained, &error) == 0);
  CHECK(drained == 0);
  CHECK(navit_edge_c_drain_for(opened.session, 1000, nullptr, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  release_stalls();
  CHECK(navit_edge_c_drain_for(opened.session, 60e6, &drained, &error) == 0);
  CHECK(drained == 1);
  CHECK(submit(60e6, id) == 0);
  CHECK(id != 0);

  struct Drains {
    navit_edge_c_session* session;
    std::atomic<std::int32_t> code{-1};
    static void done(void* user, navit_edge_c_results* results) {
      auto& self = *static_cast<Drains*>(user);
      navit_edge_c_free_results(results);
      self.code = navit_edge_c_drain(self.session, nullptr);
    }
  } drains{opened.session};
  CHECK(navit_edge_c_submit(opened.session, &image, nullptr, nullptr, nullptr, Drains::done, &drains, nullptr,
                            nullptr) == 0);
  CHECK(eventually([&] { return drains.code == NAVIT_EDGE_C_INVALID_INPUT; }));
}

TEST_CASE("a cancelled image is called back with its code; stopping cancels what waits") {
  const std::vector<Picture> pictures = some_pictures(30);
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"stall_us", "50000"}};
  Box box;
  std::atomic<int> released{0};
  std::uint64_t last = 0;
  CSession opened(bundle.write());
  for (const Picture& picture : pictures) {
    const navit_edge_c_image image = c_image(picture.view);
    REQUIRE(navit_edge_c_submit(opened.session, &image, count, &released, nullptr, Box::done, &box, &last, nullptr) ==
            0);
  }
  CHECK(navit_edge_c_cancel(opened.session, last) == 1);
  CHECK(navit_edge_c_cancel(opened.session, last) == 0);
  CHECK(navit_edge_c_cancel(opened.session, 123456) == 0);
  navit_edge_c_stop(opened.session);
  REQUIRE(box.all.size() == 30);
  CHECK(released == 30);
  int cancelled = 0;
  for (std::size_t i = 0; i < 30; ++i) {
    const navit_edge_c_result one = box.at(i);
    CHECK((one.code == NAVIT_EDGE_C_OK || one.code == NAVIT_EDGE_C_CANCELLED));
    CHECK((one.code == NAVIT_EDGE_C_OK) == (one.logits.data != nullptr));
    cancelled += one.code == NAVIT_EDGE_C_CANCELLED ? 1 : 0;
    if (one.id == last) CHECK(one.code == NAVIT_EDGE_C_CANCELLED);
  }
  CHECK(cancelled >= 1);
}

TEST_CASE("a broken session says its first cause") {
  TestBundle bundle;
  bundle.json["engines"][0]["options"] = {{"fail_on_run", "0"}};
  CSession opened(bundle.write());
  navit_edge_c_error error{};
  CHECK(navit_edge_c_broken(opened.session, &error) == NAVIT_EDGE_C_OK);
  const std::vector<Picture> pictures = some_pictures(1);
  const navit_edge_c_image image = c_image(pictures[0].view);
  navit_edge_c_results* results = nullptr;
  REQUIRE(navit_edge_c_run(opened.session, &image, 1, nullptr, &results, &error) == 0);
  navit_edge_c_result one{};
  one.struct_size = sizeof(one);
  REQUIRE(navit_edge_c_get(results, 0, &one, nullptr) == 0);
  CHECK(one.code == NAVIT_EDGE_C_BACKEND);
  CHECK(contains(one.message, "was told to fail"));
  navit_edge_c_free_results(results);
}

TEST_CASE("progress is called until all are done") {
  const std::vector<Picture> pictures = some_pictures(20);
  const auto images = c_images(pictures);
  TestBundle bundle;
  CSession opened(bundle.write());
  std::vector<std::pair<std::uint64_t, std::uint64_t>> seen;
  navit_edge_c_run_options how{};
  how.struct_size = sizeof(how);
  how.user = &seen;
  how.progress = [](void* user, std::uint64_t done, std::uint64_t total) {
    static_cast<decltype(seen)*>(user)->emplace_back(done, total);
  };
  navit_edge_c_results* results = nullptr;
  REQUIRE(navit_edge_c_run(opened.session, images.data(), images.size(), &how, &results, nullptr) == 0);
  navit_edge_c_free_results(results);
  REQUIRE(!seen.empty());
  CHECK((seen.back() == std::pair<std::uint64_t, std::uint64_t>{20, 20}));
}

TEST_CASE("it counts what it has done, in the text that Prometheus reads") {
  const std::vector<Picture> pictures = some_pictures(7);
  const auto images = c_images(pictures);
  TestBundle bundle;
  CSession opened(bundle.write());
  navit_edge_c_results* results = nullptr;
  REQUIRE(navit_edge_c_run(opened.session, images.data(), images.size(), nullptr, &results, nullptr) == 0);
  navit_edge_c_free_results(results);
  char* text = nullptr;
  REQUIRE(navit_edge_c_prometheus(opened.session, &text, nullptr) == 0);
  CHECK(contains(text, "# TYPE navit_edge_"));
  CHECK(contains(text, "engine=\"fake-cpu-fp32\"} 7\n"));
  navit_edge_c_free_text(text);
}

TEST_CASE("it describes what is open, and says which library it is") {
  CHECK(navit_edge_c_abi_version() == NAVIT_EDGE_C_ABI_VERSION);
  TestBundle bundle;
  CSession opened(bundle.write());
  char* text = nullptr;
  REQUIRE(navit_edge_c_describe(opened.session, &text, nullptr) == 0);
  const auto json = nlohmann::json::parse(text);
  navit_edge_c_free_text(text);
  CHECK(json["version"] == navit_edge_c_version());
  CHECK(json["engine"] == "fake-cpu-fp32");
  CHECK(json["device"] == "an abacus");
  CHECK(json["threads"] == 2);
  CHECK(json["model"]["width"] == 5);
  CHECK(json["model"]["patch_px"] == 4);
  CHECK(json["outputs"] == nlohmann::json{{"logits", 3}, {"embedding", 5}, {"tokens", 5}});
  CHECK(json["budgets"][0]["tokens"] == 128);
  CHECK(json["labels"] == nlohmann::json{"zero", "one", "two"});
}

// Sessions on several devices: results, metrics, faults, and what may be asked for.
#include <sched.h>

#include <atomic>
#include <future>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

constexpr const char* kLibrary = "libnavit_edge_fake_gpu.so";

using Options = std::map<std::string, std::string>;

/// A bundle with one engine for accelerators; options as "fail_from@1" are for one of them.
struct Accelerators : TestBundle {
  explicit Accelerators(const Options& engine_options = {}, int images_of_a_pack = 6) {
    json["engines"][0] = TestBundle::engine("fake-gpu", "fake-gpu", "sm89");
    json["engines"][0]["options"] = engine_options;
    json["engines"][0]["budgets"][0]["images"] = images_of_a_pack;
    write();
  }
};

SessionOptions on(const std::vector<std::string>& devices, int slots = 1) {
  SessionOptions session_options = options();
  session_options.devices = devices;
  session_options.slots = slots;
  return session_options;
}

OwnedImage borrowed(const Picture& picture) { return {picture.view, nullptr}; }

std::vector<int> usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  (void)::sched_getaffinity(0, sizeof(set), &set);
  std::vector<int> cores;
  for (int core = 0; core < 1024; ++core) {
    if (CPU_ISSET(static_cast<std::size_t>(core), &set)) cores.push_back(core);
  }
  return cores;
}

/// Every image of `pictures`, submitted; how often each was answered with the bits of `expected`, or with an error.
struct Answers {
  std::size_t good = 0;
  std::size_t failed = 0;
};
Answers submit_all(Session& session, const std::vector<Picture>& pictures, const std::vector<Result>& expected) {
  std::vector<std::atomic<int>> answers(pictures.size());
  std::atomic<std::size_t> good{0};
  std::atomic<std::size_t> failed{0};
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    SubmitOptions how;
    how.tag = i;
    try {
      session.submit(borrowed(pictures[i]), how, [&](Result&& result) {
        ++answers[result.tag];
        ++(same(result, expected[result.tag]) ? good : failed);
      });
    } catch (const BackendError&) {  // broken by now
      ++answers[i];
      ++failed;
    }
  }
  session.drain();
  for (const std::atomic<int>& count : answers) CHECK(count == 1);
  return {good, failed};
}

}  // namespace

TEST_CASE("several devices give the bits of one, share the packs, and each says what it has done") {
  const std::vector<Picture> pictures = some_pictures(60);
  const std::vector<ImageView> views = views_of(pictures);
  const std::vector<Result> expected = Session(Accelerators().path(), options()).run(views);
  const Accelerators bundle(Options{{"wait_for_runs", "3"}});  // no run ends before each device has one
  for (const int slots : {1, 2}) {
    (void)take_stats(kLibrary);
    Session session(bundle.path(), on({"0", "gpu:1", "2"}, slots));
    CHECK(session.slots() == 3 * slots);
    RunReport report;
    const std::vector<Result> results = session.run(views, &report);
    for (std::size_t i = 0; i < views.size(); ++i) CHECK(same(results[i], expected[i]));
    std::set<std::int32_t> devices;
    for (const PackReport& pack : report.packs) devices.insert(pack.device);
    if (slots == 1) CHECK(devices == std::set<std::int32_t>{0, 1, 2});
    const Answers answers = submit_all(session, pictures, expected);
    CHECK(answers.good == pictures.size());
    const Metrics metrics = session.metrics();
    REQUIRE(metrics.devices.size() == 3);
    std::uint64_t packs = 0;
    std::uint64_t images = 0;
    std::uint64_t tokens = 0;
    for (const DeviceMetrics& device : metrics.devices) {
      packs += device.packs;
      images += device.images;
      tokens += device.tokens;
      CHECK(device.slots == slots);
      CHECK(device.lost.empty());
      CHECK(device.packs_failed == 0);
      CHECK(device.in_flight == 0);
      CHECK(device.device == "an abacus");
      if (slots == 1) CHECK(device.busy_s > 0);
    }
    CHECK(metrics.devices[1].name == "gpu:1");
    CHECK(packs == metrics.packs);
    CHECK(images == 2 * pictures.size());
    CHECK(tokens == metrics.tokens_used);
    CHECK(contains(session.device(), "gpu:2: an abacus"));
    CHECK(contains(session.engine_report(), "\"gpu:1\":{"));
    CHECK(contains(to_prometheus(metrics, {}), "navit_edge_device_lost{device=\"gpu:2\"} 0\n"));
    CHECK(take_stats(kLibrary, false).opened == 3);
    CHECK(take_stats(kLibrary).misuse == 0);
  }
}

TEST_CASE("one device that nobody named is a list of one") {
  const Accelerators bundle;
  Session session(bundle.path(), options());
  const Metrics metrics = session.metrics();
  REQUIRE(metrics.devices.size() == 1);
  CHECK(metrics.devices[0].name == "gpu");
  CHECK(metrics.devices[0].slots == metrics.slots);
  CHECK(!contains(session.engine_report(), "devices"));
}

TEST_CASE("a device that fails is left out with its cause, the rest goes on, and nothing is lost") {
  const std::vector<Picture> pictures = some_pictures(80);
  const std::vector<ImageView> views = views_of(pictures);
  const std::vector<Result> expected = Session(Accelerators().path(), options()).run(views);
  for (const char* from : {"0", "2"}) {
    for (const bool by_run : {true, false}) {
      const Accelerators bundle(Options{{"fail_from@1", from}, {"stall_us", "200"}}, 2);
      Session session(bundle.path(), on({"0", "1"}));
      // It is lost once it has had three packs more; how soon is up to who is free.
      for (int round = 0; round < 200 && session.metrics().devices[1].lost.empty(); ++round) {
        if (by_run) {
          const std::vector<Result> results = session.run(views);
          for (std::size_t i = 0; i < views.size(); ++i) CHECK(same(results[i], expected[i]));
        } else {
          CHECK(submit_all(session, pictures, expected).good == pictures.size());
        }
      }
      const Metrics metrics = session.metrics();
      CHECK(contains(metrics.devices[1].lost, "three packs in a row failed, the first with: pack "));
      CHECK(contains(metrics.devices[1].lost, std::string("run ") + from + " was told to fail"));
      CHECK(metrics.devices[1].packs_failed == 3);
      CHECK(metrics.devices[0].lost.empty());
      CHECK(metrics.packs_failed == 3);
      CHECK(metrics.failures() == 0);
      CHECK(metrics.waiting == 0);
      CHECK(metrics.in_flight == 0);
      CHECK(metrics.completed == metrics.submitted);
      CHECK(session.broken().empty());
      CHECK(same(session.run(views)[0], expected[0]));
      CHECK(contains(to_prometheus(metrics, {}), "navit_edge_device_lost{device=\"gpu:1\"} 1\n"));
    }
  }
}

TEST_CASE("a pack that fails on two devices fails its images with the cause, and both devices go on") {
  const std::vector<Picture> pictures = some_pictures(1);
  const std::vector<ImageView> views = views_of(pictures);
  const Accelerators bundle(Options{{"fail_on_run", "0"}});
  Session session(bundle.path(), on({"0", "1"}));
  const std::vector<Result> results = session.run(views);
  CHECK(contains(message_of(results[0].error), "pack 0 of 1 (1 images, "));
  CHECK(contains(message_of(results[0].error), "run 0 was told to fail"));
  CHECK(session.run(views)[0].error == nullptr);
  const Metrics metrics = session.metrics();
  CHECK(metrics.devices[0].packs_failed == 1);
  CHECK(metrics.devices[1].packs_failed == 1);
  CHECK(metrics.failures() == 1);
  CHECK(metrics.completed == 1);
  CHECK(session.broken().empty());
}

TEST_CASE("when the last device is gone the session is broken with the causes of all, and every image is answered") {
  const std::vector<Picture> pictures = some_pictures(60);
  const std::vector<Result> expected = Session(Accelerators().path(), options()).run(views_of(pictures));
  const Accelerators bundle(Options{{"fail_from", "1"}}, 2);
  Session session(bundle.path(), on({"0", "1", "2"}));
  const Answers answers = submit_all(session, pictures, expected);
  CHECK(answers.good + answers.failed == pictures.size());
  CHECK(answers.failed > 0);
  CHECK(eventually([&] { return !session.broken().empty(); }));
  CHECK(contains(session.broken(), "all 3 devices are lost: gpu:0: three packs in a row failed"));
  CHECK(contains(session.broken(), "; gpu:2: three packs in a row failed"));
  CHECK_THROWS_WITH_AS((void)session.run(views_of(pictures)), "the session is broken: all 3 devices", BackendError);
  const Metrics metrics = session.metrics();
  CHECK(metrics.broken);
  CHECK(metrics.submitted == metrics.completed + metrics.failures() + metrics.cancelled);
  CHECK(metrics.waiting == 0);
}

TEST_CASE("a device that stalls is left behind, its pack is run by another, and the session closes") {
  const std::vector<Picture> pictures = some_pictures(40);
  const std::vector<ImageView> views = views_of(pictures);
  const std::vector<Result> expected = Session(Accelerators().path(), options()).run(views);
  for (const bool by_run : {true, false}) {
    const Accelerators bundle(Options{{"stall_on_run@1", "0"}, {"stall_us", "500"}}, 2);
    SessionOptions impatient = on({"0", "1"});
    impatient.stall_timeout_s = 0.5;
    Session session(bundle.path(), impatient);
    for (int round = 0; round < 200 && session.metrics().devices[1].lost.empty(); ++round) {
      if (by_run) {
        const std::vector<Result> results = session.run(views);
        for (std::size_t i = 0; i < views.size(); ++i) CHECK(same(results[i], expected[i]));
      } else {
        CHECK(submit_all(session, pictures, expected).good == pictures.size());
      }
    }
    CHECK(contains(session.metrics().devices[1].lost, " stalled: engine fake-gpu has not come back for 0.5"));
    CHECK(session.broken().empty());
    CHECK(session.metrics().failures() == 0);
    CHECK(same(session.run(views)[3], expected[3]));
    session.close();
    release_stalls(kLibrary);
  }
}

TEST_CASE("every image is answered once while devices fail, images are cancelled and the session is closed") {
  const std::vector<Picture> pictures = some_pictures(20);
  for (unsigned seed = 0; seed < 6; ++seed) {
    const Accelerators bundle(Options{{"fail_every@0", "3"}, {"fail_from@1", "4"}, {"nan_every@2", "5"}}, 3);
    std::vector<std::atomic<int>> answers(600);
    {
      Session session(bundle.path(), on({"0", "1", "2"}, 1 + static_cast<int>(seed % 2)));
      std::vector<std::thread> callers;
      for (unsigned c = 0; c < 3; ++c) {
        callers.emplace_back([&, c] {
          std::mt19937 random(10 * seed + c);
          for (std::size_t i = 200 * c; i < 200 * (c + 1); ++i) {
            SubmitOptions how;
            how.tag = i;
            how.priority = static_cast<std::int32_t>(random() % 3) - 1;
            if (random() % 4 == 0) how.deadline_us = 1 + static_cast<double>(random() % 3000);
            try {
              const std::uint64_t id =
                  session.submit(borrowed(pictures[i % 20]), how, [&](Result&& result) { ++answers[result.tag]; });
              if (random() % 8 == 0) (void)session.cancel(id);
            } catch (const Error&) {  // broken, or closed
              ++answers[i];
            }
            try {
              if (random() % 50 == 0) (void)session.run(views_of(pictures));
            } catch (const Error&) {  // the image above has its own answer
            }
          }
          if (c == seed % 3) session.close();
        });
      }
      for (std::thread& caller : callers) caller.join();
      session.close();
      const Metrics metrics = session.metrics();
      CHECK(metrics.submitted == metrics.completed + metrics.failures() + metrics.cancelled);
    }
    for (const std::atomic<int>& count : answers) CHECK(count == 1);
  }
}

TEST_CASE("cores of a CPU are devices: an engine of as many threads on each, bound to them") {
  const std::vector<int> cores = usable_cores();
  const std::vector<Picture> pictures = some_pictures(30);
  const std::vector<ImageView> views = views_of(pictures);
  TestBundle bundle;
  bundle.write();
  const std::vector<Result> expected = Session(bundle.path(), options()).run(views);
  std::vector<std::string> devices;
  for (std::size_t i = 0; i < std::min<std::size_t>(cores.size(), 2); ++i) {
    devices.push_back("cpu:" + std::to_string(cores[i]));
  }
  (void)take_stats();
  Session session(bundle.path(), on(devices, 0));
  CHECK(take_stats("libnavit_edge_fake.so", false).opened == static_cast<std::int32_t>(devices.size()));
  CHECK(take_stats("libnavit_edge_fake.so", false).threads_of_last_open == 1);
  const std::vector<Result> results = session.run(views);
  for (std::size_t i = 0; i < views.size(); ++i) CHECK(same(results[i], expected[i]));
  CHECK(session.metrics().devices[0].name == devices[0]);
  CHECK(usable_cores() == cores);  // the caller's thread is free again
}

TEST_CASE("devices that do not open, or are none, are refused by name") {
  const Accelerators bundle(Options{{"fail_open@1", "no beads"}});
  CHECK_THROWS_WITH_AS(Session(bundle.path(), on({"0", "1"})), "device gpu:1: engine fake-gpu did not open: no beads",
                       BackendError);
  const Accelerators refusing(Options{{"refuse@3", "no abacus 3"}});
  CHECK_THROWS_WITH_AS(Session(refusing.path(), on({"0", "3"})), "device gpu:3: ", BackendError);
  const Accelerators gpu;
  for (const char* word : {"x", "-1", "gpu:", "gpu:x", "cpu:", "cpu:1-", "cpu:3-1", "cpu:1,,2", "numa:", "0 ", ""}) {
    CHECK_THROWS_WITH_AS(Session(gpu.path(), on({word})), std::string("devices has \"") + word + "\"", InvalidInput);
  }
  CHECK_THROWS_WITH_AS(Session(gpu.path(), on({"numa:999"})), "no such node", InvalidInput);
  CHECK_THROWS_WITH_AS(Session(gpu.path(), on({"cpu:1023"})), "may run on the cores ", InvalidInput);
  CHECK_THROWS_WITH_AS(Session(gpu.path(), on({"0", "gpu:0"})), "another of them", InvalidInput);
  const std::string core = "cpu:" + std::to_string(usable_cores().front());
  CHECK_THROWS_WITH_AS(Session(gpu.path(), on({core, core})), "another of them", InvalidInput);
  CHECK_THROWS_WITH_AS(Session(gpu.path(), on({"0", core})), "of another kind", InvalidInput);
  CHECK_THROWS_WITH_AS(Session(gpu.path(), on({core})),
                       "has no engine for device " + core + "; it has fake-gpu (gpu, fp32); leave devices out",
                       BackendError);
  TestBundle cpu;
  CHECK_THROWS_WITH_AS(Session(cpu.write(), on({"0"})),
                       "has no engine for device 0; it has fake-cpu-fp32 (cpu, fp32); leave devices out", BackendError);
}

// Sessions under everything at once: 32 threads that submit, cancel and run, while engines fail, stall and give NaN and
// sessions are closed. What must hold whatever happens: every image gets exactly one result, good ones have the right
// bits, bad ones a typed error, and nothing hangs.
//
// NAVIT_EDGE_STRESS_IMAGES: how many images in all; the default is for CI.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "navit_edge/error.h"
#include "support/check.h"
#include "support/session_fixture.h"

using namespace navit_edge;

namespace {

constexpr std::size_t kThreads = 32;
constexpr std::size_t kImagesOfAThread = 25;  // of one session

std::size_t images_in_all() {
  const char* text = std::getenv("NAVIT_EDGE_STRESS_IMAGES");
  return text == nullptr ? 8000 : static_cast<std::size_t>(std::strtoull(text, nullptr, 10));
}

/// One image of the test, and how often its callback was called.
struct Ticket {
  std::size_t picture = 0;
  std::atomic<int> results{0};
  std::atomic<std::uint64_t> id{0};
};

struct Tally {
  std::atomic<std::size_t> submitted{0}, good{0}, failed{0}, cancelled{0}, refused{0}, wrong{0}, untyped{0};
};

/// What kind of trouble a session has.
std::map<std::string, std::string> trouble(std::size_t round) {
  switch (round % 6) {
    case 1:
      return {{"fail_every", "5"}};
    case 2:
      return {{"nan_every", "3"}, {"nan_image", "0"}};
    case 3:
      return {{"fail_from", "20"}};  // breaks
    case 4:
      return {{"stall_on_run", "15"}};
    default:
      return {};
  }
}

class Round {
 public:
  Round(std::size_t number, const std::vector<Picture>& pictures, const std::vector<Result>& expected, Tally& tally)
      : number_(number),
        pictures_(pictures),
        expected_(expected),
        tally_(tally),
        tickets_(kThreads * kImagesOfAThread) {
    bundle_.json["engines"][0]["options"] = trouble(number);
    bundle_.write();
    SessionOptions session_options = options(number % 2 == 0 ? 1 : 2);
    session_options.queue_limit = number % 3 == 0 ? 8 : 1024;
    session_options.stall_timeout_s = 0.3;
    session_ = std::make_unique<Session>(bundle_.path(), session_options);
  }

  void go() {
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) threads.emplace_back([this, t] { work(t); });
    for (std::thread& thread : threads) thread.join();
    if (number_ % 2 == 0) session_->drain();
    session_.reset();
    release_stalls();
    for (const Ticket& ticket : tickets_) {
      if (ticket.results != (ticket.id != 0 ? 1 : 0)) ++tally_.wrong;
    }
  }

 private:
  void work(std::size_t thread) {
    std::mt19937 random(static_cast<unsigned>(1000 * number_ + thread));
    for (std::size_t i = 0; i < kImagesOfAThread; ++i) {
      Ticket& ticket = tickets_[thread * kImagesOfAThread + i];
      ticket.picture = random() % pictures_.size();
      try {
        submit(ticket, random);
      } catch (const Cancelled&) {
        ++tally_.refused;
      } catch (const BackendError&) {
        ++tally_.refused;
      }
      const Ticket& any = tickets_[random() % tickets_.size()];
      if (random() % 8 == 0 && any.id != 0) (void)session_->cancel(any.id);
      if (random() % 40 == 0) run();
      if (number_ % 5 == 4 && thread == 7 && i == kImagesOfAThread / 2) session_->close();
    }
  }

  void submit(Ticket& ticket, std::mt19937& random) {
    const Picture& picture = pictures_[ticket.picture];
    // Pixels of its own, freed as soon as the session lets go of them: reading them later is found by the sanitizers.
    auto pixels = std::make_shared<std::vector<std::uint8_t>>(picture.pixels);
    OwnedImage image{picture.view, pixels};
    image.view.data = pixels->data();
    pixels.reset();
    SubmitOptions submit_options;
    submit_options.priority = static_cast<std::int32_t>(random() % 3);
    submit_options.deadline_us = random() % 2 == 0 ? 0 : 100 + static_cast<double>(random() % 20000);
    submit_options.tag = ticket.picture;
    const Done done = [this, &ticket](Result&& result) { take(ticket, result); };
    if (random() % 4 == 0) {
      if (const std::optional<std::uint64_t> id = session_->try_submit(image, submit_options, done)) {
        ++tally_.submitted;
        ticket.id = *id;
      } else {
        ++tally_.refused;
      }
      return;
    }
    ticket.id = session_->submit(std::move(image), submit_options, done);
    ++tally_.submitted;
  }

  void take(Ticket& ticket, const Result& result) {
    ++ticket.results;
    if (result.error == nullptr) {
      ++tally_.good;
      if (!same(result, expected_[result.tag])) ++tally_.wrong;
      return;
    }
    try {
      std::rethrow_exception(result.error);
    } catch (const Cancelled&) {
      ++tally_.cancelled;
    } catch (const BackendError&) {
      ++tally_.failed;
    } catch (...) {
      ++tally_.untyped;
    }
  }

  void run() {
    try {
      std::vector<ImageView> views;
      for (std::size_t i = 0; i < 5; ++i) views.push_back(pictures_[i].view);
      const std::vector<Result> results = session_->run(views);
      for (std::size_t i = 0; i < views.size(); ++i) {
        if (results[i].error == nullptr && !same(results[i], expected_[i])) ++tally_.wrong;
      }
    } catch (const Cancelled&) {
    } catch (const BackendError&) {
    }
  }

  const std::size_t number_;
  const std::vector<Picture>& pictures_;
  const std::vector<Result>& expected_;
  Tally& tally_;
  TestBundle bundle_;
  std::vector<Ticket> tickets_;
  std::unique_ptr<Session> session_;
};

}  // namespace

TEST_CASE("32 threads, cancels, closes and faults: every image gets one result, right or with a typed error") {
  std::vector<Picture> pictures;
  for (unsigned i = 0; i < 12; ++i) {
    pictures.emplace_back(i, 4 + static_cast<std::int32_t>(i), 20 - static_cast<std::int32_t>(i));
  }
  TestBundle good;
  const std::vector<Result> expected = Session(good.write(), options(1)).run(views_of(pictures));
  Tally tally;
  const std::size_t rounds = std::max<std::size_t>(1, images_in_all() / (kThreads * kImagesOfAThread));
  for (std::size_t round = 0; round < rounds; ++round) Round(round, pictures, expected, tally).go();
  CHECK(tally.wrong == 0);
  CHECK(tally.untyped == 0);
  CHECK(tally.good + tally.failed + tally.cancelled == tally.submitted);
  CHECK(tally.submitted + tally.refused == rounds * kThreads * kImagesOfAThread);
  CHECK(tally.good > 0);
  if (rounds >= 6) {
    CHECK(tally.failed > 0);
    CHECK(tally.cancelled > 0);
  }
  CHECK(eventually([] {
    const FakeStats stats = take_stats("libnavit_edge_fake.so", false);
    return stats.opened == stats.closed && stats.misuse == 0;
  }));
  std::printf("%zu sessions, %zu images: %zu good, %zu failed, %zu cancelled; %zu refused\n", rounds,
              tally.submitted.load(), tally.good.load(), tally.failed.load(), tally.cancelled.load(),
              tally.refused.load());
}

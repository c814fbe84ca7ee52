// What the tests of the session share: the fake backend's bundle opened, pictures, and results compared.
#pragma once

#include <dlfcn.h>

#include <chrono>
#include <exception>
#include <random>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "navit_edge/session.h"
#include "support/fake_backend.h"
#include "support/test_bundle.h"

namespace navit_edge {

inline const std::filesystem::path kFakes = FAKE_BACKEND_DIR;

inline SessionOptions options(int threads = 2) {
  SessionOptions session_options;
  session_options.search.explicit_dirs = {kFakes};
  session_options.threads = threads;
  return session_options;
}

/// Counters of the fake backend; reset by asking, unless told otherwise.
inline FakeStats take_stats(const char* library = "libnavit_edge_fake.so", bool reset = true) {
  void* handle = ::dlopen((kFakes / library).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw std::runtime_error(::dlerror());
  const auto stats_of = reinterpret_cast<FakeStatsFn>(::dlsym(handle, "fake_backend_stats"));
  FakeStats stats{};
  stats_of(&stats, reset ? 1 : 0);
  return stats;
}

/// Runs of the fake backend that stall come back.
inline void release_stalls(const char* library = "libnavit_edge_fake.so") {
  void* handle = ::dlopen((kFakes / library).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw std::runtime_error(::dlerror());
  reinterpret_cast<FakeReleaseFn>(::dlsym(handle, "fake_backend_release"))();
}

/// True where `done` comes true within a minute: far longer than any machine needs.
template <class Condition>
bool eventually(Condition&& done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

/// The id of the engine that a session takes.
inline std::string engine_of(const std::filesystem::path& bundle, const SessionOptions& session_options) {
  const Session session(bundle, session_options);
  return session.engine().id;
}

struct Picture {
  Picture(unsigned seed, std::int32_t height, std::int32_t width)
      : pixels(static_cast<std::size_t>(height) * static_cast<std::size_t>(width) * 3) {
    std::mt19937 random(seed);
    for (auto& byte : pixels) byte = static_cast<std::uint8_t>(random());
    view = {pixels.data(), height, width, 3, 0};
  }
  std::vector<std::uint8_t> pixels;
  ImageView view;
};

inline std::vector<Picture> some_pictures(std::size_t count) {
  std::mt19937 random(15);
  std::vector<Picture> pictures;
  for (std::size_t i = 0; i < count; ++i) {
    pictures.emplace_back(static_cast<unsigned>(i), 1 + static_cast<std::int32_t>(random() % 60),
                          1 + static_cast<std::int32_t>(random() % 60));
  }
  return pictures;
}

inline std::vector<ImageView> views_of(const std::vector<Picture>& pictures) {
  std::vector<ImageView> views;
  for (const Picture& picture : pictures) views.push_back(picture.view);
  return views;
}

inline std::vector<float> values(const OutputView& view) { return {view.data, view.data + view.rows * view.cols}; }

inline bool same(const Result& a, const Result& b) {
  return a.error == nullptr && b.error == nullptr && a.grid == b.grid && a.tokens == b.tokens &&
         values(a.logits) == values(b.logits) && values(a.embedding) == values(b.embedding) &&
         values(a.token_features) == values(b.token_features);
}

inline std::string message_of(const std::exception_ptr& error) {
  if (error == nullptr) return "";
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  }
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace navit_edge

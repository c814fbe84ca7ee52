// What tests of the C interface share.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "navit_edge/navit_edge_c.h"
#include "support/session_fixture.h"

namespace navit_edge {

inline navit_edge_c_image c_image(const ImageView& view) {
  navit_edge_c_image image{};
  image.struct_size = sizeof(image);
  image.data = view.data;
  image.height_px = view.height_px;
  image.width_px = view.width_px;
  return image;
}

inline std::vector<navit_edge_c_image> c_images(const std::vector<Picture>& pictures) {
  std::vector<navit_edge_c_image> images;
  for (const Picture& picture : pictures) images.push_back(c_image(picture.view));
  return images;
}

/// An open session of the fake backend; closed at the end.
struct CSession {
  explicit CSession(const std::filesystem::path& bundle, std::uint64_t queue_limit = 0) {
    navit_edge_c_options options{};
    options.struct_size = sizeof(options);
    options.threads = 2;
    options.backend_dirs = kFakes.c_str();
    options.queue_limit = queue_limit;
    navit_edge_c_error error{};
    if (navit_edge_c_open(bundle.c_str(), &options, &session, &error) != 0) throw std::runtime_error(error.message);
  }
  ~CSession() { close(); }
  CSession(const CSession&) = delete;
  CSession& operator=(const CSession&) = delete;
  void close() {
    navit_edge_c_close(session);
    session = nullptr;
  }
  navit_edge_c_session* session = nullptr;
};

/// Results of callbacks; `done` is one with this as `user`.
struct Box {
  static void done(void* user, navit_edge_c_results* results) {
    auto& box = *static_cast<Box*>(user);
    const std::lock_guard lock(box.mutex);
    box.all.push_back(results);
  }
  ~Box() {
    for (navit_edge_c_results* results : all) navit_edge_c_free_results(results);
  }
  navit_edge_c_result at(std::size_t i) {
    const std::lock_guard lock(mutex);
    navit_edge_c_result result{};
    result.struct_size = sizeof(result);
    if (navit_edge_c_count(all.at(i)) != 1 || navit_edge_c_get(all.at(i), 0, &result, nullptr) != 0) {
      throw std::runtime_error("no result");
    }
    return result;
  }
  std::mutex mutex;
  std::vector<navit_edge_c_results*> all;
};

inline void count(void* owner) { ++*static_cast<std::atomic<int>*>(owner); }

inline std::vector<float> values(const navit_edge_c_view& view) {
  return {view.data, view.data + view.rows * view.cols};
}

}  // namespace navit_edge

// The functions of navit_edge_c.h.
#include "navit_edge/navit_edge_c.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "c_api/convert.h"
#include "c_api/sized.h"
#include "navit_edge/error.h"
#include "navit_edge/jpeg.h"
#include "navit_edge/png.h"
#include "navit_edge/version.h"

namespace c_api = navit_edge::c_api;
using c_api::require;

struct navit_edge_c_session {
  navit_edge::Session session;
};

struct navit_edge_c_results {
  std::vector<navit_edge::Result> results;
  std::vector<c_api::Texts> texts;  // [results]

  void take(std::vector<navit_edge::Result>&& given) {
    results = std::move(given);
    texts.reserve(results.size());
    for (navit_edge::Result& result : results) {
      result.own_outputs();
      texts.push_back(c_api::texts_of(result));
    }
  }
};

namespace {

void require_decoder(const navit_edge::DecoderLibrary& found) {
  if (found.path.empty()) throw navit_edge::InvalidInput(found.why_not);
}

/// Runs `body`; an exception becomes a code and the message in `error`.
template <class Body>
std::int32_t guard(navit_edge_c_error* error, Body&& body) noexcept {
  const auto fail = [error](std::int32_t code, const char* message) {
    if (error == nullptr) return code;
    error->code = code;
    const std::size_t length = std::min(std::strlen(message), sizeof(error->message) - 1);
    std::memcpy(error->message, message, length);
    error->message[length] = '\0';
    return code;
  };
  try {
    body();
    return fail(NAVIT_EDGE_C_OK, "");
  } catch (const navit_edge::Error& e) {
    return fail(static_cast<std::int32_t>(e.code()), e.what());
  } catch (const std::bad_alloc&) {
    return fail(NAVIT_EDGE_C_BACKEND, "out of memory");
  } catch (const std::exception& e) {
    return fail(NAVIT_EDGE_C_BACKEND, e.what());
  } catch (...) {
    return fail(NAVIT_EDGE_C_BACKEND, "unknown exception");
  }
}

/// The caller's pixels: released when the last owner goes, unless they were never taken.
struct Pixels {
  navit_edge_c_release release;
  void* owner;
  bool taken = true;

  Pixels(navit_edge_c_release release_in, void* owner_in) : release(release_in), owner(owner_in) {}
  Pixels(const Pixels&) = delete;
  Pixels& operator=(const Pixels&) = delete;
  ~Pixels() {
    if (taken && release != nullptr) release(owner);
  }
};

/// What `done` gets, set aside at submission so that a result never fails for want of memory.
struct Answer {
  navit_edge_c_done done;
  void* user;
  std::unique_ptr<navit_edge_c_results> results;
};

std::shared_ptr<Answer> answer_of(navit_edge_c_done done, void* user) {
  auto answer = std::make_shared<Answer>(Answer{done, user, std::make_unique<navit_edge_c_results>()});
  answer->results->results.reserve(1);
  answer->results->texts.reserve(1);
  return answer;
}

navit_edge::Done callback(std::shared_ptr<Answer> answer) {
  return [answer = std::move(answer)](navit_edge::Result&& result) {
    navit_edge_c_results& results = *answer->results;
    try {
      result.own_outputs();
    } catch (const std::bad_alloc&) {  // then they stay views
    }
    results.texts.push_back(c_api::texts_of(result));
    results.results.push_back(std::move(result));
    answer->done(answer->user, answer->results.release());
  };
}

/// Submits what `made` makes of the caller's pixels or bytes, which are held here as well, so that those that were not
/// taken are given back and not released.
template <class Make>
std::int32_t submit(navit_edge_c_session* session, navit_edge_c_release release, void* owner,
                    const navit_edge_c_submit_options* options, navit_edge_c_done done, void* user, std::uint64_t* id,
                    navit_edge_c_error* error, Make&& make) {
  if (id != nullptr) *id = 0;
  return guard(error, [&] {
    require(session, "session");
    if (done == nullptr) throw navit_edge::InvalidInput("done is NULL; the result would go nowhere");
    bool no_wait = false;
    navit_edge::WaitOptions wait;
    const navit_edge::SubmitOptions how = c_api::submit_options(options, no_wait, wait);
    if (no_wait) require(id, "id, which no_wait needs,");
    const auto held = std::make_shared<Pixels>(release, owner);
    try {
      auto given = make(held);
      navit_edge::Done call = callback(answer_of(done, user));
      std::uint64_t taken = 0;
      if (no_wait) {
        taken = session->session.try_submit(given, how, std::move(call), wait).value_or(0);
      } else {
        taken = session->session.submit(std::move(given), how, std::move(call));
      }
      held->taken = taken != 0;
      if (id != nullptr) *id = taken;
    } catch (...) {
      held->taken = false;
      throw;
    }
  });
}

navit_edge_c_view c_view(const navit_edge::OutputView& view) { return {view.data, view.rows, view.layers * view.cols}; }

const navit_edge::Result& result_at(const navit_edge_c_results* results, std::size_t index) {
  require(results, "results");
  if (index >= results->results.size()) {
    throw navit_edge::InvalidInput("there is no result " + std::to_string(index) + "; there are " +
                                   std::to_string(results->results.size()));
  }
  return results->results[index];
}

/// `text` in memory of malloc, which navit_edge_c_free_text frees.
char* c_text(const std::string& text) {
  auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy == nullptr) throw std::bad_alloc();
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

}  // namespace

std::uint32_t navit_edge_c_abi_version() { return NAVIT_EDGE_C_ABI_VERSION; }
const char* navit_edge_c_version() { return navit_edge::version(); }

std::int32_t navit_edge_c_open(const char* bundle, const navit_edge_c_options* options, navit_edge_c_session** session,
                               navit_edge_c_error* error) {
  return guard(error, [&] {
    require(session, "session");
    *session = nullptr;
    require(bundle, "bundle");
    *session = new navit_edge_c_session{navit_edge::Session(bundle, c_api::session_options(options))};
  });
}

void navit_edge_c_stop(navit_edge_c_session* session) {
  guard(nullptr, [&] {
    require(session, "session");
    session->session.close();
  });
}

void navit_edge_c_close(navit_edge_c_session* session) { delete session; }

std::int32_t navit_edge_c_run(navit_edge_c_session* session, const navit_edge_c_image* images, std::size_t count,
                              const navit_edge_c_run_options* options, navit_edge_c_results** results,
                              navit_edge_c_error* error) {
  return guard(error, [&] {
    require(results, "results");
    *results = nullptr;
    require(session, "session");
    auto out = std::make_unique<navit_edge_c_results>();
    out->take(session->session.run(c_api::image_views(images, count), nullptr, c_api::run_options(options)));
    *results = out.release();
  });
}

std::int32_t navit_edge_c_submit(navit_edge_c_session* session, const navit_edge_c_image* image,
                                 navit_edge_c_release release, void* owner, const navit_edge_c_submit_options* options,
                                 navit_edge_c_done done, void* user, std::uint64_t* id, navit_edge_c_error* error) {
  return submit(session, release, owner, options, done, user, id, error, [&](std::shared_ptr<Pixels> pixels) {
    return navit_edge::OwnedImage{c_api::image_view(image), std::move(pixels)};
  });
}

std::int32_t navit_edge_c_submit_file(navit_edge_c_session* session, const navit_edge_c_file* file,
                                      navit_edge_c_release release, void* owner,
                                      const navit_edge_c_submit_options* options, navit_edge_c_done done, void* user,
                                      std::uint64_t* id, navit_edge_c_error* error) {
  return submit(session, release, owner, options, done, user, id, error,
                [&](std::shared_ptr<Pixels> bytes) { return c_api::image_source(file, std::move(bytes)); });
}

std::int32_t navit_edge_c_open_jpeg(const char* library, navit_edge_c_error* error) {
  return guard(error, [&] { require_decoder(navit_edge::open_jpeg_library(library != nullptr ? library : "")); });
}

std::int32_t navit_edge_c_open_png(const char* library, navit_edge_c_error* error) {
  return guard(error, [&] { require_decoder(navit_edge::open_png_library(library != nullptr ? library : "")); });
}

std::int32_t navit_edge_c_cancel(navit_edge_c_session* session, std::uint64_t id) {
  std::int32_t cancelled = 0;
  guard(nullptr, [&] {
    require(session, "session");
    cancelled = session->session.cancel(id) ? 1 : 0;
  });
  return cancelled;
}

std::int32_t navit_edge_c_drain(navit_edge_c_session* session, navit_edge_c_error* error) {
  return guard(error, [&] {
    require(session, "session");
    session->session.drain();
  });
}

std::int32_t navit_edge_c_drain_for(navit_edge_c_session* session, double timeout_us, std::int32_t* drained,
                                    navit_edge_c_error* error) {
  return guard(error, [&] {
    require(drained, "drained");
    *drained = 0;
    require(session, "session");
    *drained = session->session.drain({.timeout_us = timeout_us}) ? 1 : 0;
  });
}

std::int32_t navit_edge_c_broken(navit_edge_c_session* session, navit_edge_c_error* error) {
  return guard(error, [&] {
    require(session, "session");
    if (const std::string cause = session->session.broken(); !cause.empty()) throw navit_edge::BackendError(cause);
  });
}

std::size_t navit_edge_c_count(const navit_edge_c_results* results) {
  return results != nullptr ? results->results.size() : 0;
}

std::int32_t navit_edge_c_get(const navit_edge_c_results* results, std::size_t index, navit_edge_c_result* result,
                              navit_edge_c_error* error) {
  return guard(error, [&] {
    require(result, "result");
    const navit_edge::Result& one = result_at(results, index);
    const c_api::Texts& texts = results->texts[index];
    navit_edge_c_result out{};
    out.code = texts.code;
    out.message = texts.message.c_str();
    out.reason = texts.reason.c_str();
    out.id = one.id;
    out.tag = one.tag;
    out.height_px = one.image.height_px;
    out.width_px = one.image.width_px;
    out.grid_rows = one.grid.rows;
    out.grid_cols = one.grid.cols;
    out.tokens = one.tokens;
    out.pack = one.pack;
    out.scale_y = one.placement.scale_y;
    out.scale_x = one.placement.scale_x;
    out.top_px = one.placement.top_px;
    out.left_px = one.placement.left_px;
    out.queue_us = one.queue_us;
    out.latency_us = one.latency_us;
    out.logits = c_view(one.logits);
    out.embedding = c_view(one.embedding);
    out.features = c_view(one.token_features);
    out.projected = c_view(one.projected);
    out.deepstack = c_view(one.deepstack);
    out.deepstack_layers = one.deepstack.empty() ? 0 : one.deepstack.layers;
    out.attention_map = c_view(one.attention_map);
    out.total_tokens = one.total_tokens;
    out.kept = one.kept != nullptr ? one.kept->data() : nullptr;
    out.kept_count = one.kept != nullptr ? one.patches() : 0;
    out.cached = one.cached ? 1 : 0;
    c_api::write_sized(out, result, "navit_edge_c_result");
  });
}

std::int32_t navit_edge_c_on_image(const navit_edge_c_results* results, std::size_t index, const float* values,
                                   std::int64_t rows, std::int64_t cols, const navit_edge_c_map_options* options,
                                   float* picture, std::size_t capacity, navit_edge_c_error* error) {
  return guard(error, [&] {
    const navit_edge::Result& one = result_at(results, index);
    require(picture, "picture");
    const auto found = one.on_image(c_api::map_values(values, rows, cols), cols, c_api::map_options(options));
    if (found.size() > capacity) {
      throw navit_edge::InvalidInput("picture holds " + std::to_string(capacity) + " floats; expected " +
                                     std::to_string(found.size()) + ", height x width x cols");
    }
    std::copy(found.begin(), found.end(), picture);
  });
}

void navit_edge_c_free_results(navit_edge_c_results* results) { delete results; }

std::int32_t navit_edge_c_describe(navit_edge_c_session* session, char** text, navit_edge_c_error* error) {
  return guard(error, [&] {
    require(text, "text");
    *text = nullptr;
    require(session, "session");
    *text = c_text(c_api::describe(session->session));
  });
}

std::int32_t navit_edge_c_prometheus(navit_edge_c_session* session, char** text, navit_edge_c_error* error) {
  return guard(error, [&] {
    require(text, "text");
    *text = nullptr;
    require(session, "session");
    *text = c_text(c_api::prometheus(session->session));
  });
}

void navit_edge_c_free_text(char* text) { std::free(text); }

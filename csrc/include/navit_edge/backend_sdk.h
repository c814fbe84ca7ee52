// For authors of backends: exceptions inside, codes outside.
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "navit_edge/backend_abi.h"
#include "navit_edge/error.h"

#define NAVIT_EDGE_BACKEND_EXPORT extern "C" __attribute__((visibility("default")))

namespace navit_edge::sdk {

inline std::int32_t fail(navit_edge_error* error, ErrorCode code, const char* message) noexcept {
  if (error != nullptr) {
    error->code = static_cast<std::int32_t>(code);
    std::snprintf(error->message, sizeof(error->message), "%s", message);
  }
  return static_cast<std::int32_t>(code);
}

/// Runs `body`; an exception becomes a code and a message in `error`. Nothing leaves by throwing.
template <class Body>
std::int32_t guard(navit_edge_error* error, Body&& body) noexcept {
  try {
    body();
    if (error != nullptr) {
      error->code = 0;
      error->message[0] = '\0';
    }
    return 0;
  } catch (const Error& e) {
    return fail(error, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return fail(error, ErrorCode::kBackend, "out of memory");
  } catch (const std::exception& e) {
    return fail(error, ErrorCode::kBackend, e.what());
  } catch (...) {
    return fail(error, ErrorCode::kBackend, "unknown exception in the backend");
  }
}

/// An engine's content that a backend needs for longer than the call of `open`: taken from the caller, given back when
/// this goes.
class TakenBytes {
 public:
  explicit TakenBytes(navit_edge_bytes& from) noexcept : bytes_(from) { from.release = nullptr; }
  ~TakenBytes() {
    if (bytes_.release != nullptr) bytes_.release(&bytes_);
  }
  TakenBytes(const TakenBytes&) = delete;
  TakenBytes& operator=(const TakenBytes&) = delete;
  [[nodiscard]] const void* data() const noexcept { return bytes_.data; }
  [[nodiscard]] std::size_t size() const noexcept { return bytes_.size; }

 private:
  navit_edge_bytes bytes_;
};

/// Answers a query of the table with `text`.
inline void answer(std::string_view text, char* buffer, std::size_t capacity, std::size_t* needed) {
  *needed = text.size() + 1;
  if (capacity == 0) return;
  const std::size_t written = std::min(text.size(), capacity - 1);
  std::memcpy(buffer, text.data(), written);
  buffer[written] = '\0';
}

/// Throws what a query for an unknown key is answered with.
[[noreturn]] inline void refuse_key(std::string_view key) {
  throw InvalidInput("the engine has nothing under '" + std::string(key) + "'; expected report");
}

/// The table of a backend, from its `navit_edge_engine`: a class that is made of a navit_edge_engine_desc and has
/// `run`, `report`, and `input_memory`, which gives null if the engine has no memory to lend.
template <class Engine>
constexpr navit_edge_backend_table table_of(const char* name, decltype(navit_edge_backend_table::probe) probe) {
  return {
      NAVIT_EDGE_BACKEND_ABI_VERSION,
      name,
      probe,
      [](const navit_edge_engine_desc* desc, Engine** out, navit_edge_error* error) {
        return guard(error, [&] { *out = std::make_unique<Engine>(*desc).release(); });
      },
      [](Engine* engine, std::int32_t slot, const navit_edge_tensor* inputs, std::size_t input_count,
         const navit_edge_tensor* outputs, std::size_t output_count, navit_edge_error* error) {
        return guard(error, [&] { engine->run(slot, {inputs, input_count}, {outputs, output_count}); });
      },
      [](Engine* engine) { delete engine; },
      [](Engine* engine, const char* key, char* buffer, std::size_t capacity, std::size_t* needed,
         navit_edge_error* error) {
        return guard(error, [&] {
          if (std::string_view(key) != "report") refuse_key(key);
          answer(engine->report(), buffer, capacity, needed);
        });
      },
      [](Engine* engine, std::int32_t slot, const char* tensor, std::size_t bytes, void** data,
         navit_edge_error* error) { return guard(error, [&] { *data = engine->input_memory(slot, tensor, bytes); }); },
  };
}

/// A JSON object, written member by member.
class JsonObject {
 public:
  JsonObject& text(std::string_view key, std::string_view value) { return json(key, quoted(value)); }
  JsonObject& number(std::string_view key, std::int64_t value) { return json(key, std::to_string(value)); }
  /// `value` is JSON already.
  JsonObject& json(std::string_view key, std::string_view value) {
    body_ += body_.empty() ? "{" : ", ";
    body_.append(quoted(key)).append(": ").append(value);
    return *this;
  }
  [[nodiscard]] std::string done() const { return body_.empty() ? "{}" : body_ + "}"; }

  static std::string quoted(std::string_view value) {
    std::string text = "\"";
    for (const char c : value) {
      if (c == '"' || c == '\\') {
        text.append(1, '\\').append(1, c);
      } else if (static_cast<unsigned char>(c) < 0x20) {
        std::array<char, 8> escaped{};
        std::snprintf(escaped.data(), escaped.size(), "\\u%04x", static_cast<unsigned>(c));
        text += escaped.data();
      } else {
        text += c;
      }
    }
    return text + "\"";
  }

 private:
  std::string body_;
};

/// JSON values as a JSON list.
template <class Values>
std::string json_list(const Values& values) {
  std::string text;
  for (const auto& value : values) text.append(text.empty() ? "" : ", ").append(value);
  return "[" + text + "]";
}

}  // namespace navit_edge::sdk

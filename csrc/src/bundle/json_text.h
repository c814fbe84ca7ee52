// JSON texts from outside: checked before anything is built of them.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace navit_edge {

/// Levels of brackets. Whatever walks through a document calls itself once a level.
inline constexpr std::size_t kMostJsonDepth = 64;
/// Values in a document, names of fields apart. Each takes some twenty bytes and up once it is read.
inline constexpr std::size_t kMostJsonValues = std::size_t{1} << 21;

/// Who is read, and what to do if it cannot be: "<file> is not JSON (...); <remedy>".
struct JsonSource {
  std::string file;
  std::string remedy;
  bool skip_unknown = false;  // a later minor version: fields that are not known are skipped
};

/// Throws BundleError if `text` is not exactly one JSON document (RFC 8259) in UTF-8: comments, a byte order mark,
/// NaN, trailing commas or bytes, half of a surrogate pair; if an object has a field twice; if it is deeper or
/// has more values than the limits. Keeps nothing of it in memory but the names of the fields of the objects it is in.
void check_json(std::string_view text, const JsonSource& source);

/// The document, checked so.
nlohmann::json parse_json(std::string_view text, const JsonSource& source);

/// `text` as JSON writes a string, quotes included: ASCII; bytes that are no UTF-8 as base/text.h shows them.
std::string json_string(std::string_view text);

/// `text` for a message: ASCII, what cannot be shown as \xNN, and not more than `most_bytes` of it.
std::string shown(std::string_view text, std::size_t most_bytes = 80);

/// Whether `text` has a control character other than the tab: C0, DEL or C1. In names they do things to a terminal.
bool has_control_characters(std::string_view text) noexcept;

}  // namespace navit_edge

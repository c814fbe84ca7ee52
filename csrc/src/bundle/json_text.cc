#include "bundle/json_text.h"

#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "base/text.h"
#include "navit_edge/error.h"
#include "navit_edge/manifest_text.h"

namespace navit_edge {
namespace {

/// Takes the document in pieces as the parser finds them, and ends it by throwing.
class Checker {
 public:
  explicit Checker(const JsonSource& source) : source_(&source) {}

  bool null() { return value(); }
  bool boolean(bool /*found*/) { return value(); }
  bool number_integer(nlohmann::json::number_integer_t /*found*/) { return value(); }
  bool number_unsigned(nlohmann::json::number_unsigned_t /*found*/) { return value(); }
  bool number_float(nlohmann::json::number_float_t /*found*/, const std::string& /*text*/) { return value(); }
  bool string(const std::string& /*found*/) { return value(); }
  bool binary(nlohmann::json::binary_t& /*found*/) { return value(); }

  bool start_object(std::size_t /*size*/) { return begin(true); }
  bool start_array(std::size_t /*size*/) { return begin(false); }
  bool end_object() { return end(); }
  bool end_array() { return end(); }

  bool key(const std::string& name) {
    if (levels_.back().insert(name).second) return true;
    fail("has the field " + shown(name) + " twice in one object; expected once");
  }

  bool parse_error(std::size_t /*position*/, const std::string& /*token*/, const nlohmann::json::exception& error) {
    fail("is not JSON (" + shown(error.what(), 300) + ")");
  }

 private:
  bool value() {
    if (++values_ > kMostJsonValues) fail("has more than " + std::to_string(kMostJsonValues) + " values");
    return true;
  }
  bool begin(bool object) {
    (void)value();
    if (levels_.size() == kMostJsonDepth) {
      fail("is nested more than " + std::to_string(kMostJsonDepth) + " levels deep; expected at most those");
    }
    levels_.emplace_back(object ? 8 : 0);
    return true;
  }
  bool end() {
    levels_.pop_back();
    return true;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw BundleError(source_->file + " " + what + "; " + source_->remedy);
  }

  const JsonSource* source_;
  std::vector<std::unordered_set<std::string>> levels_;  // names of the fields so far, of each object we are in
  std::size_t values_ = 0;
};

}  // namespace

void check_json(std::string_view text, const JsonSource& source) {
  const auto fail = [&](const char* what) {
    throw BundleError(source.file + " is not JSON (" + what + "); " + source.remedy);
  };
  // The parser passes over a mark, and takes a zero byte for the end.
  if (text.starts_with("\xEF\xBB\xBF")) fail("it begins with a byte order mark; save it as UTF-8 without one");
  if (text.find('\0') != std::string_view::npos) fail("it has a byte 0 in it");
  Checker checker(source);
  (void)nlohmann::json::sax_parse(text, &checker);
}

void check_json(std::string_view text, const std::string& source, const std::string& remedy) {
  check_json(text, JsonSource{source, remedy});
}

nlohmann::json parse_json(std::string_view text, const JsonSource& source) {
  check_json(text, source);
  return nlohmann::json::parse(text);
}

std::string json_string(std::string_view text) { return nlohmann::json(utf8_of(text)).dump(-1, ' ', true); }

std::string shown(std::string_view text, std::size_t most_bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : text.substr(0, most_bytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 0xF]};
    }
  }
  return text.size() > most_bytes ? out + "..." : out;
}

bool has_control_characters(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte < 0x20 && byte != '\t') || byte == 0x7F) return true;
    const bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (c1) return true;
  }
  return false;
}

}  // namespace navit_edge

#include "bundle/json_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "navit_edge/error.h"

namespace navit_edge {

/// JSON's own class stays in this file: who reads a manifest need not compile it.
struct JsonReader::Document {
  std::shared_ptr<const nlohmann::json> root;
  JsonSource source;
};

JsonReader::JsonReader(std::string_view text, JsonSource source) {
  auto root = std::make_shared<const nlohmann::json>(parse_json(text, source));
  value_ = root.get();
  document_ = std::make_shared<const Document>(Document{std::move(root), std::move(source)});
}

JsonReader::JsonReader(const nlohmann::json& value, const JsonReader& parent, std::string where)
    : document_(parent.document_), value_(&value), where_(std::move(where)) {}

JsonReader JsonReader::with_source(JsonSource source) const {
  JsonReader other = *this;
  other.document_ = std::make_shared<const Document>(Document{document_->root, std::move(source)});
  return other;
}

bool JsonReader::is_object() const { return value_->is_object(); }
bool JsonReader::is_string() const { return value_->is_string(); }
bool JsonReader::is_integer() const { return value_->is_number_integer(); }

std::string JsonReader::child(const std::string& key) const {
  return where_.empty() ? shown(key) : where_ + "." + shown(key);
}

std::string JsonReader::found() const {
  constexpr std::size_t kMostShown = 8;  // entries of a list or an object that a message is made of
  if ((value_->is_array() || value_->is_object()) && value_->size() > kMostShown) {
    return (value_->is_array() ? "a list of " : "an object of ") + std::to_string(value_->size()) + " entries";
  }
  constexpr std::size_t kMostBytes = 80;
  if (value_->is_string() && value_->get_ref<const std::string&>().size() > 4 * kMostBytes) {
    return "a string of " + std::to_string(value_->get_ref<const std::string&>().size()) + " bytes";
  }
  std::string text = value_->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMostBytes) text = text.substr(0, kMostBytes) + "...";
  return text;
}

void JsonReader::fail(const std::string& expected) const {
  throw BundleError(document_->source.file + ": " + (where_.empty() ? "the document" : where_) + " is " + found() +
                    "; expected " + expected + "; " + document_->source.remedy);
}

JsonReader JsonReader::at(const std::string& key) const {
  if (!value_->is_object()) fail("an object with the field " + key);
  const auto entry = value_->find(key);
  if (entry == value_->end()) {
    throw BundleError(document_->source.file + ": the field " + child(key) + " is missing; " +
                      document_->source.remedy);
  }
  return {*entry, *this, child(key)};
}

bool JsonReader::has(const std::string& key) const {
  if (!value_->is_object()) fail("an object");
  return value_->contains(key);
}

bool JsonReader::has_value(const std::string& key) const { return has(key) && !value_->find(key)->is_null(); }

void JsonReader::only(std::initializer_list<std::string_view> known) const {
  if (!value_->is_object()) fail("an object with the fields " + list_of(known));
  if (document_->source.skip_unknown) return;
  for (const auto& [key, value] : value_->items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    throw BundleError(document_->source.file + ": the field " + child(key) + " is not known; expected no others than " +
                      list_of(known) + "; if a later version made it, upgrade navit-edge; else " +
                      document_->source.remedy);
  }
}

std::string JsonReader::string() const {
  if (!value_->is_string()) fail("a string");
  const auto& text = value_->get_ref<const std::string&>();
  if (text.size() > kMostStringBytes) fail("a string of at most " + std::to_string(kMostStringBytes) + " bytes");
  if (has_control_characters(text)) fail("a string without control characters");
  return text;
}

std::string JsonReader::name() const {
  std::string text = string();
  if (text.empty()) fail("a name");
  return text;
}

bool JsonReader::boolean() const {
  if (!value_->is_boolean()) fail("true or false");
  return value_->get<bool>();
}

std::int64_t JsonReader::integer(std::int64_t lowest, std::int64_t highest) const {
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
  const std::string expected =
      lowest == kLeast ? "an integer" : "an integer from " + std::to_string(lowest) + " to " + std::to_string(highest);
  if (!value_->is_number_integer()) fail(expected);
  if (value_->is_number_unsigned() &&
      value_->get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    fail(expected);
  }
  const auto number = value_->get<std::int64_t>();
  if (number < lowest || number > highest) fail(expected);
  return number;
}

std::int32_t JsonReader::int32(std::int32_t lowest, std::int32_t highest) const {
  return static_cast<std::int32_t>(integer(lowest, highest));
}

std::int32_t JsonReader::int32(std::int32_t lowest) const {
  return int32(lowest, std::numeric_limits<std::int32_t>::max());
}

double JsonReader::number() const {
  if (!value_->is_number()) fail("a number");
  return value_->get<double>();
}

double JsonReader::number(double lowest, double highest) const {
  const double found = value_->is_number() ? value_->get<double>() : std::numeric_limits<double>::quiet_NaN();
  if (!(found >= lowest && found <= highest)) {
    fail("a number from " + nlohmann::json(lowest).dump() + " to " + nlohmann::json(highest).dump());
  }
  return found;
}

double JsonReader::positive_number() const {
  const double found = value_->is_number() ? value_->get<double>() : -1;
  if (!std::isfinite(found) || found < 0) fail("a finite number of 0 and up");
  return found;
}

std::vector<JsonReader> JsonReader::array(std::size_t most) const {
  if (!value_->is_array()) fail("an array");
  if (value_->size() > most) fail("at most " + std::to_string(most) + " entries");
  std::vector<JsonReader> items;
  items.reserve(value_->size());
  for (std::size_t i = 0; i < value_->size(); ++i) {
    items.push_back(JsonReader((*value_)[i], *this, where_ + "[" + std::to_string(i) + "]"));
  }
  return items;
}

std::map<std::string, JsonReader> JsonReader::object(std::size_t most) const {
  if (!value_->is_object()) fail("an object");
  if (value_->size() > most) fail("at most " + std::to_string(most) + " entries");
  std::map<std::string, JsonReader> fields;
  for (const auto& [key, value] : value_->items()) {
    if (key.size() > kMostStringBytes || has_control_characters(key)) {
      throw BundleError(document_->source.file + ": the field " + child(key) + " has a name of " +
                        std::to_string(key.size()) + " bytes; expected at most " + std::to_string(kMostStringBytes) +
                        ", and no control characters; " + document_->source.remedy);
    }
    fields.emplace(key, JsonReader(value, *this, child(key)));
  }
  return fields;
}

std::size_t JsonReader::word_index(std::span<const std::string_view> words) const {
  const auto found = std::find(words.begin(), words.end(), string());
  if (found == words.end()) fail("one of " + list_of(words));
  return static_cast<std::size_t>(found - words.begin());
}

Rgb JsonReader::colour() const {
  const std::vector<JsonReader> values = array(Rgb{}.size());
  if (values.size() != Rgb{}.size()) fail("three values of 0..255: R, G, B");
  Rgb colour{};
  for (std::size_t c = 0; c < colour.size(); ++c) colour[c] = static_cast<std::uint8_t>(values[c].integer(0, 255));
  return colour;
}

std::map<std::string, std::string> JsonReader::string_map() const {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : object(kMostMapEntries)) out.emplace(key, value.string());
  return out;
}

}  // namespace navit_edge

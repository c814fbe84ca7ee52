#include "json_reader.h"

#include <cmath>
#include <limits>

#include "navit_edge/error.h"

namespace navit_edge {

void JsonReader::fail(const std::string& expected) const {
  std::string found = value_->dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
  constexpr std::size_t kMostChars = 80;
  if (found.size() > kMostChars) found = found.substr(0, kMostChars) + "...";
  throw BundleError(file_ + ": " + (where_.empty() ? "the document" : where_) + " is " + found + "; expected " +
                    expected + "; " + remedy_);
}

JsonReader JsonReader::at(const std::string& key) const {
  if (!value_->is_object()) fail("an object with the field " + key);
  const auto found = value_->find(key);
  if (found == value_->end()) {
    throw BundleError(file_ + ": the field " + child(key) + " is missing; " + remedy_);
  }
  return {*found, *this, child(key)};
}

bool JsonReader::has(const std::string& key) const {
  if (!value_->is_object()) fail("an object");
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

std::string JsonReader::string() const {
  if (!value_->is_string()) fail("a string");
  auto text = value_->get<std::string>();
  if (text.find('\0') != std::string::npos) fail("a string without NUL characters");
  return text;
}

bool JsonReader::boolean() const {
  if (!value_->is_boolean()) fail("true or false");
  return value_->get<bool>();
}

std::int64_t JsonReader::integer(std::int64_t lowest, std::int64_t highest) const {
  const std::string expected = "an integer from " + std::to_string(lowest) + " to " + std::to_string(highest);
  if (!value_->is_number_integer()) fail(expected);
  if (value_->is_number_unsigned() &&
      value_->get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    fail(expected);
  }
  const auto number = value_->get<std::int64_t>();
  if (number < lowest || number > highest) fail(expected);
  return number;
}

std::int32_t JsonReader::int32(std::int32_t lowest) const {
  return static_cast<std::int32_t>(integer(lowest, std::numeric_limits<std::int32_t>::max()));
}

double JsonReader::positive_number() const {
  const double number = value_->is_number() ? value_->get<double>() : -1;
  if (!std::isfinite(number) || number < 0) fail("a finite number of 0 and up");
  return number;
}

std::vector<JsonReader> JsonReader::array() const {
  if (!value_->is_array()) fail("an array");
  std::vector<JsonReader> items;
  items.reserve(value_->size());
  for (std::size_t i = 0; i < value_->size(); ++i) {
    items.push_back(JsonReader((*value_)[i], *this, where_ + "[" + std::to_string(i) + "]"));
  }
  return items;
}

std::map<std::string, JsonReader> JsonReader::object() const {
  if (!value_->is_object()) fail("an object");
  std::map<std::string, JsonReader> fields;
  for (const auto& [key, value] : value_->items()) fields.emplace(key, JsonReader(value, *this, child(key)));
  return fields;
}

std::map<std::string, std::string> JsonReader::string_map() const {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : object()) out.emplace(key, value.string());
  return out;
}

}  // namespace navit_edge

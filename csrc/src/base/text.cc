#include "base/text.h"

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>

namespace navit_edge {
namespace {

std::uint8_t byte_at(std::string_view bytes, std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); }

/// Bytes of the character at `i`; 0 if there is none.
std::size_t character_bytes(std::string_view bytes, std::size_t i) {
  const std::uint8_t lead = byte_at(bytes, i);
  if (lead < 0x80) return 1;
  const std::size_t count = lead >= 0xC2 && lead <= 0xDF   ? 2
                            : lead >= 0xE0 && lead <= 0xEF ? 3
                            : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                           : 0;
  if (count == 0 || i + count > bytes.size()) return 0;
  // The second byte is bounded if the character would be overlong, a surrogate, or above U+10FFFF.
  const std::uint8_t lowest = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const std::uint8_t highest = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte_at(bytes, i + 1) < lowest || byte_at(bytes, i + 1) > highest) return 0;
  for (std::size_t k = 2; k < count; ++k)
    if ((byte_at(bytes, i + k) & 0xC0) != 0x80) return 0;
  return count;
}

/// Whether `\xNN` stands at `i` as `utf8_of` and `utf8_key` write it: 5c, or 80 and up in lower case.
bool is_escape(std::string_view name, std::size_t i) {
  if (i + 4 > name.size() || name[i] != '\\' || name[i + 1] != 'x') return false;
  const char high = name[i + 2];
  const char low = name[i + 3];
  if (high == '5') return low == 'c';
  const bool above = high == '8' || high == '9' || (high >= 'a' && high <= 'f');
  return above && ((low >= '0' && low <= '9') || (low >= 'a' && low <= 'f'));
}

std::string valid(std::string_view bytes, bool key) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size());
  for (std::size_t i = 0; i < bytes.size();) {
    if (key && is_escape(bytes, i)) {
      text += "\\x5c";
      ++i;
    } else if (const std::size_t count = character_bytes(bytes, i); count > 0) {
      text += bytes.substr(i, count);
      i += count;
    } else {
      text += {'\\', 'x', kHex[byte_at(bytes, i) >> 4], kHex[byte_at(bytes, i) & 15]};
      ++i;
    }
  }
  return text;
}

}  // namespace

std::string utf8_of(std::string_view bytes) { return valid(bytes, false); }
std::string utf8_key(std::string_view name) { return valid(name, true); }

std::string shortest(double value) {
  std::array<char, 64> text{};
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value);
  return {text.data(), end};
}

std::string rounded(double value, int digits) {
  std::array<char, 400> text{};
  const auto [end, error] =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed, digits);
  return {text.data(), end};
}

}  // namespace navit_edge

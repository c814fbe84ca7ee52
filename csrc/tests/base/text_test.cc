#include "base/text.h"

#include <string>
#include <vector>

#include "support/check.h"

using navit_edge::utf8_key;
using navit_edge::utf8_of;

TEST_CASE("UTF-8 stays as it is, from the first to the last character of each length") {
  for (const std::string text : {"", "a\\b \x1b", "\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                                 "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    CHECK(utf8_of(text) == text);
    CHECK(utf8_key(text) == text);
  }
}

TEST_CASE("bytes that are no UTF-8 are written, each by itself") {
  CHECK(utf8_of("m\xff.navit") == "m\\xff.navit");
  CHECK(utf8_of("\xc0\x80") == "\\xc0\\x80");                    // overlong
  CHECK(utf8_of("\xe0\x9f\xbf") == "\\xe0\\x9f\\xbf");           // overlong
  CHECK(utf8_of("\xed\xa0\x80") == "\\xed\\xa0\\x80");           // a surrogate
  CHECK(utf8_of("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // above the last
  CHECK(utf8_of("\xe2\x82") == "\\xe2\\x82");                    // cut off
  CHECK(utf8_of("\xe2\x82z") == "\\xe2\\x82z");
}

TEST_CASE("no two names have one key") {
  const std::vector<std::string> names = {"\xff", "\xfe", "\\xff", "\\x5cxff", "\\\\xff", "\\x5c", "\\xFF", "\\x7f"};
  for (const std::string& one : names)
    for (const std::string& other : names) CHECK((utf8_key(one) == utf8_key(other)) == (one == other));
  CHECK(utf8_key("\\xff") == "\\x5cxff");
  CHECK(utf8_key("back\\slash") == "back\\slash");
}

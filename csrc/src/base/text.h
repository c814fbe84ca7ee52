// Text: bytes that others chose (file names, messages of libraries) as valid UTF-8, as Prometheus, JSON and Python ask
// for; numbers in decimal.
#pragma once

#include <string>
#include <string_view>

namespace navit_edge {

/// `bytes` if they are UTF-8; each byte that is not (RFC 3629: no surrogates, nothing overlong) as `\xNN`.
std::string utf8_of(std::string_view bytes);

/// A file name as UTF-8, different for different names: as `utf8_of`, and a backslash that would look like the start of
/// such an escape as `\x5c`. The same as `key_of` of python/navit_edge/text.py.
std::string utf8_key(std::string_view name);

/// The shortest text that reads back as `value`: "20", "0.05".
std::string shortest(double value);
/// With so many digits behind the point: "18.2".
std::string rounded(double value, int digits);

}  // namespace navit_edge

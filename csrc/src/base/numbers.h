// Numbers in texts of policies.
#pragma once

#include <string>

namespace navit_edge {

/// The shortest text that reads back as `value`: "20", "0.05".
std::string shortest(double value);
/// With so many digits behind the point: "18.2".
std::string rounded(double value, int digits);

}  // namespace navit_edge

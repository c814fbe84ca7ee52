// What this process holds of the machine's memory.
#pragma once

#include <cstddef>

namespace navit_edge {

/// Resident bytes, pages of files among them; 0 if the system does not say.
std::size_t resident_bytes() noexcept;

/// "412 MiB": rounded up, for messages about memory.
inline std::size_t whole_mib(std::size_t bytes) noexcept { return (bytes + (std::size_t{1} << 20) - 1) >> 20; }

}  // namespace navit_edge

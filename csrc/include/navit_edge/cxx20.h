// Which C++ the public headers need, and what leaves the library. Every one of them includes this, itself or through
// another; navit_edge_c.h, version.h and backend_abi.h do not, and work with C99 and with any C++.
#pragma once

#include "navit_edge/export.h"  // IWYU pragma: export

#if !defined(__cplusplus) || __cplusplus < 202002L
#error \
    "navit_edge's C++ headers need C++20: compile with -std=c++20, in CMake target_compile_features(app PRIVATE cxx_std_20). With an older C++, or C, use navit_edge/navit_edge_c.h."
#endif

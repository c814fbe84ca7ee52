// Which symbols leave the shared library: those marked here, and nothing else (it is built with hidden visibility).
#pragma once

#if defined(NAVIT_EDGE_STATIC)
#define NAVIT_EDGE_API
#else
#define NAVIT_EDGE_API __attribute__((visibility("default")))
#endif

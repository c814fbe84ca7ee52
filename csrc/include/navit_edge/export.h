/* Which symbols leave the shared library: those marked here, and nothing else (it is built with hidden visibility). */
#pragma once

#define NAVIT_EDGE_API __attribute__((visibility("default")))

#include "navit_edge/version.h"

namespace navit_edge {

const char* version() { return NAVIT_EDGE_VERSION; }

}  // namespace navit_edge

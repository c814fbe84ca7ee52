// Everything an application needs.
#pragma once

#include "navit_edge/choice.h"           // IWYU pragma: export
#include "navit_edge/complexity.h"       // IWYU pragma: export
#include "navit_edge/cores.h"            // IWYU pragma: export
#include "navit_edge/cost.h"             // IWYU pragma: export
#include "navit_edge/engine.h"           // IWYU pragma: export
#include "navit_edge/error.h"            // IWYU pragma: export
#include "navit_edge/file_bytes.h"       // IWYU pragma: export
#include "navit_edge/histogram.h"        // IWYU pragma: export
#include "navit_edge/image.h"            // IWYU pragma: export
#include "navit_edge/manifest.h"         // IWYU pragma: export
#include "navit_edge/manifest_text.h"    // IWYU pragma: export
#include "navit_edge/memory.h"           // IWYU pragma: export
#include "navit_edge/metrics.h"          // IWYU pragma: export
#include "navit_edge/option_range.h"     // IWYU pragma: export
#include "navit_edge/pack.h"             // IWYU pragma: export
#include "navit_edge/pack_writer.h"      // IWYU pragma: export
#include "navit_edge/placement.h"        // IWYU pragma: export
#include "navit_edge/plan.h"             // IWYU pragma: export
#include "navit_edge/policy.h"           // IWYU pragma: export
#include "navit_edge/prometheus.h"       // IWYU pragma: export
#include "navit_edge/reason.h"           // IWYU pragma: export
#include "navit_edge/resize.h"           // IWYU pragma: export
#include "navit_edge/result.h"           // IWYU pragma: export
#include "navit_edge/session.h"          // IWYU pragma: export
#include "navit_edge/session_options.h"  // IWYU pragma: export
#include "navit_edge/sizing.h"           // IWYU pragma: export
#include "navit_edge/stream.h"           // IWYU pragma: export
#include "navit_edge/submit.h"           // IWYU pragma: export
#include "navit_edge/tensor.h"           // IWYU pragma: export
#include "navit_edge/text_encoder.h"     // IWYU pragma: export
#include "navit_edge/types.h"            // IWYU pragma: export
#include "navit_edge/unpack.h"           // IWYU pragma: export
#include "navit_edge/version.h"          // IWYU pragma: export
#include "navit_edge/view_of.h"          // IWYU pragma: export
#include "navit_edge/vocabulary.h"       // IWYU pragma: export

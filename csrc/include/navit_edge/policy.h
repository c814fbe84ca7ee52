// How many tokens an image gets.
#pragma once

namespace navit_edge {

struct Policy {};

}  // namespace navit_edge

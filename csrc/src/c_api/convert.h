// Between the C interface and the C++ one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "navit_edge/error.h"
#include "navit_edge/image.h"
#include "navit_edge/image_source.h"
#include "navit_edge/navit_edge_c.h"
#include "navit_edge/result.h"
#include "navit_edge/session.h"

namespace navit_edge::c_api {

/// Throws InvalidInput for a NULL pointer.
inline void require(const void* pointer, const char* what) {
  if (pointer == nullptr) throw InvalidInput(std::string(what) + " is NULL");
}

SessionOptions session_options(const navit_edge_c_options* given);
ImageView image_view(const navit_edge_c_image* given);
/// `owner` keeps its bytes.
std::shared_ptr<ImageSource> image_source(const navit_edge_c_file* given, std::shared_ptr<const void> owner);
/// Images of an array, one struct_size apart.
std::vector<ImageView> image_views(const navit_edge_c_image* given, std::size_t count);
/// "" or NULL: none.
std::optional<Policy> policy(const char* text);
RunOptions run_options(const navit_edge_c_run_options* given);
/// `no_wait` says whether the caller wants no waiting.
SubmitOptions submit_options(const navit_edge_c_submit_options* given, bool& no_wait, WaitOptions& wait);

MapOptions map_options(const navit_edge_c_map_options* given);
/// [rows, cols] of the caller's.
std::span<const float> map_values(const float* values, std::int64_t rows, std::int64_t cols);

/// What a result says in words, and the code of its error.
struct Texts {
  std::int32_t code = 0;
  std::string message;
  std::string reason;
};
/// Without memory for a text it is empty; the code is right all the same.
Texts texts_of(const Result& result) noexcept;

/// JSON of navit_edge_c_describe.
std::string describe(const Session& session);
/// Text of navit_edge_c_prometheus.
std::string prometheus(const Session& session);

}  // namespace navit_edge::c_api

// What the files of the Python module share.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "navit_edge/content.h"
#include "navit_edge/image.h"

namespace navit_edge::bindings {

/// Of an image, as the core holds it to (pixels/image_check.h).
inline constexpr std::int32_t kMostSidePx = 1 << 20;

void bind_decode(pybind11::module_& module);
void bind_errors(pybind11::module_& module);
void bind_manifest(pybind11::module_& module);
void bind_memory(pybind11::module_& module);
void bind_metrics(pybind11::module_& module);  // after bind_session: adds to its class
void bind_options(pybind11::module_& module);
void bind_packer(pybind11::module_& module);
void bind_pixels(pybind11::module_& module);
void bind_plan(pybind11::module_& module);
void bind_policy(pybind11::module_& module);
void bind_resize(pybind11::module_& module);
void bind_result(pybind11::module_& module);
void bind_session(pybind11::module_& module);
void bind_sizing(pybind11::module_& module);
void bind_stream(pybind11::module_& module);
void bind_text(pybind11::module_& module);

/// navit_edge.Pixels: a view and what keeps its bytes alive.
struct Pixels {
  ImageView view;
  std::vector<pybind11::object> owners;
};

/// What a session may know an image by: (32 bytes of a hash, what decoding did to it), or None.
std::optional<Content> content_of(const pybind11::object& content);

/// 32 bytes.
ContentDigest digest_of(const pybind11::bytes& bytes);

/// Sets matrix and range of `view` from their names.
void set_colour(ImageView& view, const std::string& matrix, const std::string& range);

/// Pixels in an object of the buffer protocol, plane after plane (bind_buffer.cc).
Pixels pixels_of_buffer(const pybind11::object& buffer, const std::string& format, std::int32_t height_px,
                        std::int32_t width_px, const pybind11::object& strides, const pybind11::object& offsets,
                        const std::string& matrix, const std::string& range, const pybind11::object& owner);

/// A view of one array, whose format its shape and strides give.
ImageView array_view(pybind11::handle array, const std::string& who);

/// One plane of `rows` times `width` values of `step` bytes, [rows, width(, step)] or [rows, width * step]; `stride` is
/// set to the bytes from row to row.
const std::uint8_t* plane(pybind11::handle array, const std::string& who, std::int32_t rows, std::int32_t width,
                          std::int32_t step, std::int64_t& stride);

/// A view of a uint8 array [height_px, width_px(, channels)] or of navit_edge.Pixels. Borrows it. Throws InvalidInput,
/// naming `who`.
ImageView image_view(pybind11::handle image, const std::string& who);

/// Text that may hold bytes of file names, or what a library says, as Python's: bytes that are no UTF-8 become `\xNN`.
pybind11::str text_of(std::string_view bytes);

/// Throws what Ctrl-C, or another signal's handler, has raised. Without the GIL, which it takes for a moment.
void look_at_signals();

/// A new instance of the Python class for `error` (python/navit_edge/errors.py).
pybind11::object python_error(const std::exception_ptr& error);

}  // namespace navit_edge::bindings

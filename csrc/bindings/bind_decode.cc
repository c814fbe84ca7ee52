// Image files decoded without the interpreter's lock.
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/image_source.h"
#include "navit_edge/jpeg.h"
#include "navit_edge/png.h"
#include "navit_edge/vocabulary.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

using Sides = std::pair<std::int32_t, std::int32_t>;  // height_px, width_px

std::span<const std::uint8_t> bytes_of(const py::bytes& file) {
  const std::string_view view = file;
  return {reinterpret_cast<const std::uint8_t*>(view.data()), view.size()};
}

/// Pixels that own what keeps their memory.
template <class Owner>
Pixels pixels_of(const ImageView& view, std::unique_ptr<Owner> owner) {
  Pixels pixels;
  pixels.view = view;
  pixels.owners.push_back(py::capsule(owner.get(), [](void* owned) { delete static_cast<Owner*>(owned); }));
  (void)owner.release();
  return pixels;
}

Pixels pixels_of(DecodedFile image) {
  return pixels_of(image.view, std::make_unique<std::unique_ptr<std::uint8_t[]>>(std::move(image.pixels)));
}

DecodeRequest request_of(Sides size, std::optional<Sides> resize, const std::string& filter,
                         const std::string& processor) {
  DecodeRequest request;
  request.expected = {size.first, size.second};
  request.most_pixels = std::int64_t{size.first} * size.second;
  if (resize) request.resize = Size{resize->first, resize->second};
  request.filter = parse_word<Filter>(filter);
  request.processor = parse_word<Processor>(processor);
  return request;
}

std::pair<py::str, py::str> texts_of(const DecoderLibrary& library) {
  return {text_of(library.path), text_of(library.why_not)};
}

}  // namespace

void bind_decode(py::module_& module) {
  module.def(
      "open_jpeg_library", [](const std::string& path) { return texts_of(open_jpeg_library(path)); }, py::arg("path"));
  module.def(
      "open_png_library", [](const std::string& path) { return texts_of(open_png_library(path)); }, py::arg("path"));
  module.def(
      "decode_jpeg",
      [](const py::bytes& file, Sides size, std::optional<Sides> resize, const std::string& filter,
         const std::string& processor, const std::string& decode) {
        DecodeRequest request = request_of(size, resize, filter, processor);
        request.decode = parse_word<Decode>(decode);
        DecodedFile image;
        const std::span<const std::uint8_t> bytes = bytes_of(file);
        {
          const ReleasedGil release;
          image = decode_jpeg(bytes, request);
        }
        return pixels_of(std::move(image));
      },
      py::arg("file"), py::arg("size"), py::arg("resize") = py::none(), py::arg("filter") = "bilinear",
      py::arg("processor") = "pillow", py::arg("decode") = "exact");
  module.def(
      "decode_png",
      [](const py::bytes& file, Sides size, std::optional<Sides> resize, const std::string& filter,
         const std::string& processor, const std::string& alpha, const Rgb& background) {
        DecodeRequest request = request_of(size, resize, filter, processor);
        request.alpha = parse_word<Alpha>(alpha);
        request.background = background;
        DecodedFile image;
        const std::span<const std::uint8_t> bytes = bytes_of(file);
        {
          const ReleasedGil release;
          image = decode_png(bytes, request);
        }
        const bool transparent = image.transparent;
        return std::pair{pixels_of(std::move(image)), transparent};
      },
      py::arg("file"), py::arg("size"), py::arg("resize") = py::none(), py::arg("filter") = "bilinear",
      py::arg("processor") = "pillow", py::arg("alpha") = "drop", py::arg("background") = Rgb{255, 255, 255});
  module.def(
      "jpeg_scale",
      [](Sides size, Sides target) { return jpeg_scale({size.first, size.second}, {target.first, target.second}); },
      py::arg("size"), py::arg("target"));
  module.def(
      "decode_file_source",
      [](const py::bytes& file, const std::string& orientation, const std::string& icc) {
        PreprocessSpec preprocess;
        preprocess.orientation = parse_word<Orientation>(orientation);
        preprocess.icc = parse_word<Icc>(icc);
        const std::shared_ptr<ImageSource> source = file_source(bytes_of(file));
        source->open({preprocess, [](Size) { return std::nullopt; }});
        auto image = std::make_unique<OwnedImage>(source->decode());
        const ImageView view = image->view;
        return pixels_of(view, std::move(image));
      },
      py::arg("file"), py::arg("orientation"), py::arg("icc"));
  module.def(
      "check_jpeg_scans",
      [](const py::bytes& file) {
        const std::span<const std::uint8_t> bytes = bytes_of(file);
        const ReleasedGil release;
        check_jpeg_scans(bytes);
      },
      py::arg("file"));
  module.def(
      "has_late_png_metadata",
      [](const py::bytes& file) {
        const std::span<const std::uint8_t> bytes = bytes_of(file);
        const ReleasedGil release;
        return has_late_png_metadata(bytes);
      },
      py::arg("file"));
}

}  // namespace navit_edge::bindings

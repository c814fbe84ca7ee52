// JPEG files decoded without the interpreter's lock.
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
#include "navit_edge/vocabulary.h"

namespace py = pybind11;

namespace navit_edge::bindings {
namespace {

std::span<const std::uint8_t> bytes_of(const py::bytes& file) {
  const std::string_view view = file;
  return {reinterpret_cast<const std::uint8_t*>(view.data()), view.size()};
}

/// Pixels that own their memory.
Pixels pixels_of(JpegImage image) {
  Pixels pixels;
  pixels.view = image.view;
  auto memory = std::make_unique<std::unique_ptr<std::uint8_t[]>>(std::move(image.pixels));
  pixels.owners.push_back(
      py::capsule(memory.get(), [](void* owned) { delete static_cast<std::unique_ptr<std::uint8_t[]>*>(owned); }));
  (void)memory.release();
  return pixels;
}

}  // namespace

void bind_jpeg(py::module_& module) {
  module.def(
      "open_jpeg_library",
      [](const std::string& path) {
        const JpegLibrary& library = open_jpeg_library(path);
        return std::pair{text_of(library.path), text_of(library.why_not)};
      },
      py::arg("path"));
  module.def(
      "decode_jpeg",
      [](const py::bytes& file, std::pair<std::int32_t, std::int32_t> size,
         std::optional<std::pair<std::int32_t, std::int32_t>> resize, const std::string& filter,
         const std::string& processor, const std::string& decode) {
        JpegOptions options;
        options.expected = {size.first, size.second};
        options.most_pixels = std::int64_t{size.first} * size.second;
        if (resize) options.resize = Size{resize->first, resize->second};
        options.filter = parse_word<Filter>(filter);
        options.processor = parse_word<Processor>(processor);
        options.decode = parse_word<Decode>(decode);
        JpegImage image;
        const std::span<const std::uint8_t> bytes = bytes_of(file);
        {
          const ReleasedGil release;
          image = decode_jpeg(bytes, options);
        }
        return pixels_of(std::move(image));
      },
      py::arg("file"), py::arg("size"), py::arg("resize") = py::none(), py::arg("filter") = "bilinear",
      py::arg("processor") = "pillow", py::arg("decode") = "exact");
  module.def(
      "jpeg_scale",
      [](std::pair<std::int32_t, std::int32_t> size, std::pair<std::int32_t, std::int32_t> target) {
        return jpeg_scale({size.first, size.second}, {target.first, target.second});
      },
      py::arg("size"), py::arg("target"));
  module.def(
      "decode_jpeg_source",
      [](const py::bytes& file, const std::string& orientation, const std::string& icc) {
        PreprocessSpec preprocess;
        preprocess.orientation = parse_word<Orientation>(orientation);
        preprocess.icc = parse_word<Icc>(icc);
        const std::shared_ptr<ImageSource> source = jpeg_source(bytes_of(file));
        source->open({preprocess, [](Size) { return std::nullopt; }});
        auto image = std::make_unique<OwnedImage>(source->decode());
        Pixels pixels;
        pixels.view = image->view;
        pixels.owners.push_back(py::capsule(image.get(), [](void* owned) { delete static_cast<OwnedImage*>(owned); }));
        (void)image.release();
        return pixels;
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
}

}  // namespace navit_edge::bindings

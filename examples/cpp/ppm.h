// Reads binary PPM images (P6, 8 bits a channel), which any converter writes: `convert photo.jpg photo.ppm`.
#pragma once

#include <navit_edge/image.h>

#include <cstdint>
#include <fstream>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

struct PpmImage {
  std::int32_t height_px = 0;
  std::int32_t width_px = 0;
  std::vector<std::uint8_t> rgb;  // [height_px, width_px, 3]

  /// Borrows the pixels. A view of a temporary does not compile.
  [[nodiscard]] navit_edge::ImageView view() const& { return {rgb.data(), height_px, width_px}; }
  navit_edge::ImageView view() const&& = delete;
};

/// Throws std::runtime_error where the file is missing, is not a binary PPM or ends too early.
inline PpmImage read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(path + ": cannot be opened; expected a PPM image");
  const auto number = [&] {  // the next number of the header; '#' begins a comment
    std::int32_t value = 0;
    while ((file >> std::ws).peek() == '#') file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    file >> value;
    return value;
  };
  std::string magic;
  file >> magic;
  PpmImage image;
  image.width_px = number();
  image.height_px = number();
  const std::int32_t largest = number();
  file.get();  // the one space after the header
  if (!file || magic != "P6" || largest != 255 || image.width_px < 1 || image.height_px < 1) {
    throw std::runtime_error(path +
                             ": not a binary PPM with 8 bits a channel; convert it: convert photo.jpg photo.ppm");
  }
  image.rgb.resize(std::size_t{3} * static_cast<std::size_t>(image.height_px) *
                   static_cast<std::size_t>(image.width_px));
  file.read(reinterpret_cast<char*>(image.rgb.data()), static_cast<std::streamsize>(image.rgb.size()));
  if (!file) throw std::runtime_error(path + ": ends before its last pixel; write it again");
  return image;
}

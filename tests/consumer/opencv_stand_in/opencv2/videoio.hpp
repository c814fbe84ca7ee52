// A STAND-IN, not OpenCV: see core.hpp. Reads a sequence of binary PPM files named by a pattern, "DIR/%d.ppm" from 0
// on, which OpenCV opens, too; gives BGR.
#pragma once

#include <cstdio>
#include <fstream>
#include <opencv2/core.hpp>
#include <string>

namespace cv {

class VideoCapture {
 public:
  explicit VideoCapture(const std::string& pattern) : pattern_(pattern) {}
  [[nodiscard]] bool isOpened() const { return std::ifstream(name()).good(); }
  bool read(Mat& frame) {
    std::ifstream file(name(), std::ios::binary);
    std::string magic;
    int cols = 0, rows = 0, largest = 0;
    if (!(file >> magic >> cols >> rows >> largest)) return false;
    file.get();
    frame = Mat(rows, cols, CV_8UC3);
    for (int y = 0; y < rows; ++y) {
      for (int x = 0; x < cols; ++x) {
        for (int c = 2; c >= 0; --c) frame.ptr(y)[3 * x + c] = static_cast<uchar>(file.get());
      }
    }
    ++next_;
    return static_cast<bool>(file);
  }

 private:
  [[nodiscard]] std::string name() const {
    const std::size_t at = pattern_.find("%d");
    if (at == std::string::npos) return pattern_;
    return pattern_.substr(0, at) + std::to_string(next_) + pattern_.substr(at + 2);
  }
  std::string pattern_;
  int next_ = 0;
};

}  // namespace cv

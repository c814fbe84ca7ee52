// A STAND-IN, not OpenCV: the part of cv::Mat's public interface that examples/cpp/opencv_frames.cc uses, so that the
// example is compiled and run where OpenCV's C++ package is not installed. It shows what our side does with a Mat's
// rows, stride and shared memory, and nothing about OpenCV.
#pragma once

#include <cstddef>
#include <memory>

constexpr int CV_8UC1 = 0;
constexpr int CV_8UC3 = 16;

namespace cv {

using uchar = unsigned char;

/// As cv::MatStep: bytes from row to row.
struct MatStep {
  std::size_t bytes = 0;
  operator std::size_t() const { return bytes; }
};

/// Shares its pixels with its copies, as cv::Mat does. Rows are followed by 13 foreign bytes.
class Mat {
 public:
  Mat() = default;
  Mat(int rows_in, int cols_in, int type_in) : rows(rows_in), cols(cols_in), type_(type_in) {
    step.bytes = static_cast<std::size_t>(cols) * (type_ == CV_8UC3 ? 3 : 1) + 13;
    memory_ = std::shared_ptr<uchar[]>(new uchar[step.bytes * static_cast<std::size_t>(rows)]());
    data = memory_.get();
  }
  [[nodiscard]] int type() const { return type_; }
  [[nodiscard]] bool empty() const { return data == nullptr; }
  uchar* ptr(int row) { return data + static_cast<std::size_t>(row) * step.bytes; }

  int rows = 0;
  int cols = 0;
  uchar* data = nullptr;
  MatStep step;

 private:
  int type_ = CV_8UC3;
  std::shared_ptr<uchar[]> memory_;
};

}  // namespace cv

// Frames of a camera, a video or a sequence of images as OpenCV reads them, BGR with whatever stride, without a copy:
//   opencv_frames NAME.navit SOURCE
#include <navit_edge/navit_edge.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <future>
#include <memory>
#include <opencv2/core.hpp>
#include <opencv2/videoio.hpp>
#include <utility>
#include <vector>

namespace {

/// Borrows the pixels of `frame`. A view of a temporary does not compile.
navit_edge::ImageView view_of(const cv::Mat& frame) {
  navit_edge::ImageView view;
  if (frame.empty()) return view;  // refused by the session, as an image of 0 x 0 pixels
  if (frame.type() != CV_8UC3 && frame.type() != CV_8UC1) {
    throw navit_edge::InvalidInput("a frame is neither CV_8UC3 nor CV_8UC1; convert it with cv::Mat::convertTo");
  }
  view.data = frame.data;
  view.height_px = frame.rows;
  view.width_px = frame.cols;
  view.channels = frame.type() == CV_8UC3 ? 3 : 1;
  view.format = frame.type() == CV_8UC3 ? navit_edge::PixelFormat::kBgr : navit_edge::PixelFormat::kGray;
  view.row_stride_bytes = static_cast<std::int64_t>(static_cast<std::size_t>(frame.step));
  return view;
}
navit_edge::ImageView view_of(const cv::Mat&& frame) = delete;

/// Takes `frame` over: its pixels live until the session has read them. Hand over a Mat of its own for each frame:
/// VideoCapture::read writes into the memory of the Mat that it is given, also if others share that.
navit_edge::OwnedImage owned_image(cv::Mat&& frame) {
  const auto owner = std::make_shared<const cv::Mat>(std::move(frame));
  return {view_of(*owner), owner};
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) return std::fprintf(stderr, "usage: opencv_frames NAME.navit SOURCE\n"), 2;
  cv::VideoCapture source(argv[2]);
  if (!source.isOpened()) throw navit_edge::InvalidInput(std::string(argv[2]) + ": OpenCV cannot open it");
  navit_edge::Session session(argv[1]);
  std::vector<navit_edge::Submitted> waiting;
  for (;;) {
    cv::Mat frame;  // a new one each time
    if (!source.read(frame)) break;
    waiting.push_back(session.submit(owned_image(std::move(frame))));  // waits if the queue is full
  }
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    const navit_edge::Result result = waiting[i].result.get();  // throws this frame's own error
    std::printf("frame %zu\t%dx%d px\tgrid %dx%d", i, result.image.height_px, result.image.width_px, result.grid.rows,
                result.grid.cols);
    if (!result.logits.empty()) {
      const auto logits = result.logits.values();
      const auto top = std::max_element(logits.begin(), logits.end());
      std::printf("\tclass %td\tlogit %.6f", top - logits.begin(), static_cast<double>(*top));
    }
    std::printf("\n");
  }
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

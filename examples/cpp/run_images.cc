// Runs images of any size through a bundle: run_images NAME.navit IMAGE.ppm...
#include <navit_edge/navit_edge.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <vector>

#include "ppm.h"

int main(int argc, char** argv) try {
  if (argc < 3) return std::fprintf(stderr, "usage: run_images NAME.navit IMAGE.ppm...\n"), 2;
  navit_edge::Session session(argv[1]);  // the best engine of the bundle that runs here
  std::vector<PpmImage> pixels;
  for (int i = 2; i < argc; ++i) pixels.push_back(read_ppm(argv[i]));
  std::vector<navit_edge::ImageView> images;
  for (const auto& image : pixels) images.push_back(image.view());

  const auto results = session.run(images);  // one per image, in input order

  for (std::size_t i = 0; i < results.size(); ++i) {
    const navit_edge::Result& result = results[i];
    if (result.error) std::rethrow_exception(result.error);  // this image's own error
    if (result.logits.empty()) throw navit_edge::InvalidInput("the bundle has no logits; export one with a classifier");
    const float* logits = result.logits.data;  // [classes]
    const auto top = std::max_element(logits, logits + result.logits.cols) - logits;
    std::printf("%s\t%dx%d px\tgrid %dx%d\t%d tokens\tpack %d\tclass %td\tlogit %.6f\n", argv[i + 2],
                result.image.height_px, result.image.width_px, result.grid.rows, result.grid.cols, result.tokens,
                result.pack, top, static_cast<double>(logits[top]));
  }
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

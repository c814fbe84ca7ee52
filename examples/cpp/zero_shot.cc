// How well texts go with images: zero_shot NAME.navit IDS IMAGE.ppm...
// IDS: a file with the token ids of one text a line, as navit_edge.TextEncoder.tokenize gives them in Python, or any
// program that reads the bundle's text/tokenizer.json with the tokenizers library.
#include <navit_edge/navit_edge.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iterator>
#include <span>
#include <vector>

#include "ppm.h"

int main(int argc, char** argv) try {
  if (argc < 4) return std::fprintf(stderr, "usage: zero_shot NAME.navit IDS IMAGE.ppm...\n"), 2;
  std::ifstream file(argv[2]);
  const std::vector<std::int32_t> ids(std::istream_iterator<std::int32_t>(file), {});
  std::vector<PpmImage> pixels;
  for (int i = 3; i < argc; ++i) pixels.push_back(read_ppm(argv[i]));
  std::vector<navit_edge::ImageView> images;
  for (const auto& image : pixels) images.push_back(image.view());

  navit_edge::TextEncoder encoder(argv[1]);  // needs an engine of `navit-edge build-engine --backend openvino`
  const std::vector<float> texts = encoder.embed(ids);  // [texts, D]; once, whatever the images
  navit_edge::Session session(argv[1]);
  const auto results = session.run(images);

  for (std::size_t i = 0; i < results.size(); ++i) {
    if (results[i].error) std::rethrow_exception(results[i].error);
    const std::vector<float> logits = encoder.logits(results[i].embedding.values(), texts);
    for (std::size_t text = 0; text < logits.size(); ++text) {
      const double probability = 1 / (1 + std::exp(-static_cast<double>(logits[text])));
      std::printf("%s\ttext %zu\tlogit %.5f\tprobability %.5f\n", argv[i + 3], text, static_cast<double>(logits[text]),
                  probability);
    }
  }
  return 0;
} catch (const std::exception& error) {
  return std::fprintf(stderr, "%s\n", error.what()), 1;
}

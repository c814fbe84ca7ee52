// The words of manifests and options.
#include "navit_edge/vocabulary.h"

#include <set>

#include "navit_edge/error.h"
#include "navit_edge/manifest.h"
#include "support/check.h"

using namespace navit_edge;

namespace {

/// Each word is the word of its own value, and no other value's.
template <class Enum>
void check_words() {
  constexpr auto& words = kWords<Enum>.words;
  CHECK(std::set<std::string_view>(words.begin(), words.end()).size() == words.size());
  for (std::size_t i = 0; i < words.size(); ++i) {
    CHECK(find_word<Enum>(words[i]) == value_at<Enum>(i));
    CHECK(word_of(value_at<Enum>(i)) == words[i]);
  }
}

}  // namespace

TEST_CASE("every word is that of one value, and every value has one") {
  check_words<Fit>();
  check_words<Enlarge>();
  check_words<Filter>();
  check_words<Processor>();
  check_words<Alpha>();
  check_words<Orientation>();
  check_words<Icc>();
  check_words<DType>();
  check_words<PixelFormat>();
  check_words<YuvMatrix>();
  check_words<YuvRange>();
  check_words<Lowering>();
  check_words<Quantization>();
  check_words<Precision>();
  check_words<DeviceKind>();
  check_words<Overflow>();
  check_words<Strategy>();
  check_words<AttentionCost>();
  check_words<GraphInput>();
  check_words<GraphOutput>();
  check_words<Scores>();
  CHECK(word_of(DType::kFloat32) == "float32");
  CHECK(word_of(DType::kInt32) == "int32");
  CHECK(word_of(PixelFormat::kGray) == "gray");
  CHECK(word_of(PixelFormat::kI420) == "i420");
  CHECK(word_of(SizingRule(TokenCap{})) == "token-cap");
  CHECK(word_of(SizingRule(Native{})) == "native");
  CHECK(word_of(SizingRule(NaFlex{})) == "naflex");
  CHECK(word_of(SizingRule(SmartResize{})) == "smart-resize");
  CHECK(word_of(SizingRule(LongestSide{})) == "longest-side");
  CHECK(word_of(SizingRule(NavitResize{})) == "navit-resize");
  CHECK(word_of(SizingRule(Fixed{})) == "fixed");
  CHECK(word_of(SizingRule(PatchBudget{})) == "patch-budget");
}

TEST_CASE("a word that is unknown is refused with those that are known") {
  CHECK(find_word<Filter>("mitchell") == std::nullopt);
  CHECK_THROWS_WITH_AS(parse_word<Filter>("mitchell"),
                       "filter is 'mitchell'; expected one of nearest, box, bilinear, hamming, bicubic, lanczos",
                       InvalidInput);
  CHECK_THROWS_WITH_AS(parse_word<Overflow>("Error"), "overflow is 'Error'; expected one of error, downscale",
                       InvalidInput);
}

TEST_CASE("auto leaves a device or a precision open") {
  CHECK(parse_word_or_auto<DeviceKind>("auto") == std::nullopt);
  CHECK(parse_word_or_auto<DeviceKind>("npu") == DeviceKind::kNpu);
  CHECK_THROWS_WITH_AS(parse_word_or_auto<DeviceKind>("tpu"), "device is 'tpu'; expected one of auto, cpu, gpu, npu",
                       InvalidInput);
  CHECK_THROWS_WITH_AS(parse_word_or_auto<Precision>("int1"), "precision is 'int1'; expected one of auto, fp32",
                       InvalidInput);
  CHECK_THROWS_WITH_AS(parse_word<DeviceKind>("auto"), "device is 'auto'; expected one of cpu, gpu, npu", InvalidInput);
}

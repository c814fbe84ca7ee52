// The structs and arguments of the C interface: sizes, formats, NULL.
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "c_api/c_fixture.h"
#include "support/check.h"

using namespace navit_edge;

TEST_CASE("structs of an older caller are whole, those of a newer one must not set what is unknown") {
  TestBundle bundle;
  bundle.write();
  struct Newer {
    navit_edge_c_options options;
    std::uint64_t more;
  } newer{};
  newer.options.struct_size = sizeof(newer);
  newer.options.backend_dirs = kFakes.c_str();
  navit_edge_c_session* session = nullptr;
  navit_edge_c_error error{};
  CHECK(navit_edge_c_open(bundle.path().c_str(), &newer.options, &session, &error) == 0);
  navit_edge_c_close(session);
  newer.more = 1;
  CHECK(navit_edge_c_open(bundle.path().c_str(), &newer.options, &session, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(session == nullptr);
  CHECK(contains(error.message, "sets a field that this library does not know"));
  newer.options.struct_size = 0;
  CHECK(navit_edge_c_open(bundle.path().c_str(), &newer.options, &session, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(contains(error.message, "set it to sizeof(navit_edge_c_options)"));

  // Cut off behind backend_dirs: nothing is read behind it.
  const std::size_t shorter = offsetof(navit_edge_c_options, vendor_dirs);
  std::vector<unsigned char> exact(shorter);  // the address sanitizer watches its end
  navit_edge_c_options older{};
  older.struct_size = static_cast<std::uint32_t>(shorter);
  older.backend_dirs = kFakes.c_str();
  std::memcpy(exact.data(), &older, shorter);
  REQUIRE(navit_edge_c_open(bundle.path().c_str(), reinterpret_cast<const navit_edge_c_options*>(exact.data()),
                            &session, &error) == 0);

  const std::vector<Picture> pictures = some_pictures(1);
  const navit_edge_c_image image = c_image(pictures[0].view);
  navit_edge_c_results* results = nullptr;
  REQUIRE(navit_edge_c_run(session, &image, 1, nullptr, &results, &error) == 0);
  const std::size_t head = offsetof(navit_edge_c_result, tokens);
  std::vector<unsigned char> result(head + 8, 0xAA);
  const auto head_size = static_cast<std::uint32_t>(head);
  std::memcpy(result.data(), &head_size, sizeof(head_size));
  CHECK(navit_edge_c_get(results, 0, reinterpret_cast<navit_edge_c_result*>(result.data()), &error) == 0);
  CHECK(std::vector<unsigned char>(result.end() - 8, result.end()) == std::vector<unsigned char>(8, 0xAA));
  navit_edge_c_free_results(results);
  navit_edge_c_close(session);
}

TEST_CASE("images of an array lie struct_size apart") {
  struct Wider {
    navit_edge_c_image image;
    std::uint64_t more;
  };
  const std::vector<Picture> pictures = some_pictures(3);
  std::vector<Wider> images(3);
  for (std::size_t i = 0; i < 3; ++i) {
    images[i] = {c_image(pictures[i].view), 0};
    images[i].image.struct_size = sizeof(Wider);
  }
  TestBundle bundle;
  CSession opened(bundle.write());
  navit_edge_c_results* results = nullptr;
  navit_edge_c_error error{};
  REQUIRE(navit_edge_c_run(opened.session, &images[0].image, 3, nullptr, &results, &error) == 0);
  for (std::size_t i = 0; i < 3; ++i) {
    navit_edge_c_result one{};
    one.struct_size = sizeof(one);
    navit_edge_c_get(results, i, &one, nullptr);
    CHECK((one.height_px == pictures[i].view.height_px && one.width_px == pictures[i].view.width_px));
  }
  navit_edge_c_free_results(results);
  images[1].image.struct_size = sizeof(navit_edge_c_image);
  CHECK(navit_edge_c_run(opened.session, &images[0].image, 3, nullptr, &results, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(contains(error.message, "struct_size of image 1 differs"));
  CHECK(results == nullptr);
}

TEST_CASE("every pixel format is read as C++ reads it") {
  std::vector<std::uint8_t> bytes(64 * 64 * 4);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::uint8_t>(i * 7);
  TestBundle bundle;
  CSession opened(bundle.write());
  Session session(bundle.path(), options());
  for (std::int32_t format = NAVIT_EDGE_C_GRAY; format <= NAVIT_EDGE_C_I420; ++format) {
    ImageView view{bytes.data(), 32, 24, 3, 0};
    view.format = static_cast<PixelFormat>(format);
    const bool planes = format == NAVIT_EDGE_C_NV12 || format == NAVIT_EDGE_C_I420;
    view.channels = format == NAVIT_EDGE_C_GRAY || planes ? 1 : format <= NAVIT_EDGE_C_BGR ? 3 : 4;
    navit_edge_c_image image = c_image(view);
    image.format = format;
    if (planes) {
      view.planes[0] = image.planes[0] = bytes.data() + 1000;
      view.planes[1] = image.planes[1] = bytes.data() + 3000;
      view.matrix = YuvMatrix::kBt709;
      image.matrix = NAVIT_EDGE_C_BT709;
      view.range = YuvRange::kFull;
      image.range = NAVIT_EDGE_C_FULL;
    }
    navit_edge_c_results* results = nullptr;
    REQUIRE(navit_edge_c_run(opened.session, &image, 1, nullptr, &results, nullptr) == 0);
    navit_edge_c_result one{};
    one.struct_size = sizeof(one);
    navit_edge_c_get(results, 0, &one, nullptr);
    const std::vector<Result> expected = session.run({&view, 1});
    REQUIRE(expected[0].error == nullptr);
    CHECK(values(one.logits) == values(expected[0].logits));
    navit_edge_c_free_results(results);
  }
  navit_edge_c_image bad = c_image({bytes.data(), 4, 4, 3, 0});
  bad.format = 10;
  navit_edge_c_error error{};
  navit_edge_c_results* results = nullptr;
  CHECK(navit_edge_c_run(opened.session, &bad, 1, nullptr, &results, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(contains(error.message, "field format of an image is 10"));
}

TEST_CASE("a limit that the process is beyond already is refused with the numbers") {
  TestBundle bundle;
  bundle.write();
  navit_edge_c_options options{};
  options.struct_size = sizeof(options);
  options.backend_dirs = kFakes.c_str();
  options.max_memory_bytes = std::uint64_t{1} << 20;
  navit_edge_c_error error{};
  navit_edge_c_session* session = nullptr;
  CHECK(navit_edge_c_open(bundle.path().c_str(), &options, &session, &error) == NAVIT_EDGE_C_BACKEND);
  CHECK(contains(error.message, "that the process holds already"));
  CHECK(contains(error.message, "max_memory is 1 MiB"));
}

TEST_CASE("NULL is refused with a message where it makes no sense, and left alone where it is to be freed") {
  navit_edge_c_error error{};
  navit_edge_c_session* session = nullptr;
  CHECK(navit_edge_c_open(nullptr, nullptr, &session, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(std::string(error.message) == "bundle is NULL");
  CHECK(error.code == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(navit_edge_c_open("/nowhere", nullptr, nullptr, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(navit_edge_c_open("/nowhere", nullptr, &session, &error) == NAVIT_EDGE_C_BUNDLE);
  CHECK(contains(error.message, "/nowhere"));
  CHECK(navit_edge_c_run(nullptr, nullptr, 0, nullptr, nullptr, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(navit_edge_c_submit(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, &error) ==
        NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(navit_edge_c_drain(nullptr, nullptr) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(navit_edge_c_broken(nullptr, nullptr) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(navit_edge_c_describe(nullptr, nullptr, nullptr) == NAVIT_EDGE_C_INVALID_INPUT);
  std::int32_t drained = 1;
  CHECK(navit_edge_c_drain_for(nullptr, 1, &drained, nullptr) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(drained == 0);
  char* text = nullptr;
  CHECK(navit_edge_c_prometheus(nullptr, &text, &error) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(std::string(error.message) == "session is NULL");
  navit_edge_c_result one{};
  CHECK(navit_edge_c_get(nullptr, 0, &one, nullptr) == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(navit_edge_c_cancel(nullptr, 1) == 0);
  CHECK(navit_edge_c_count(nullptr) == 0);
  navit_edge_c_stop(nullptr);
  navit_edge_c_close(nullptr);
  navit_edge_c_free_results(nullptr);
  navit_edge_c_free_text(nullptr);
}

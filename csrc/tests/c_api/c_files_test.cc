// Image files through the C interface: by path and in memory, who releases what, and what is refused.
#include <atomic>
#include <string>
#include <vector>

#include "c_api/c_fixture.h"
#include "navit_edge/jpeg.h"
#include "navit_edge/png.h"
#include "support/check.h"
#include "support/image_files.h"

using namespace navit_edge;

namespace {

navit_edge_c_file c_file(const char* path) {
  navit_edge_c_file file{};
  file.struct_size = sizeof(file);
  file.path = path;
  return file;
}

navit_edge_c_file c_file(const Bytes& data) {
  navit_edge_c_file file = c_file(nullptr);
  file.data = data.data();
  file.size = data.size();
  return file;
}

/// Of a file of tests/data and the pixels that it has.
void check_file(const std::string& name, const DecodedFile& image) {
  const std::string path = std::string(NAVIT_EDGE_IMAGE_FILES) + "/" + name;
  const Bytes data = read_image_file(name);
  TestBundle bundle;
  CSession opened(bundle.write());
  std::atomic<int> released{0};
  Box box;
  navit_edge_c_error error{};
  const navit_edge_c_image pixels = [&] {
    navit_edge_c_image one = c_image(image.view);
    one.channels = image.view.channels;
    return one;
  }();
  const navit_edge_c_file by_path = c_file(path.c_str());
  const navit_edge_c_file in_memory = c_file(data);
  navit_edge_c_submit_options options{};
  options.struct_size = sizeof(options);
  options.tag = 7;
  std::uint64_t id = 0;
  REQUIRE(navit_edge_c_submit(opened.session, &pixels, nullptr, nullptr, nullptr, Box::done, &box, nullptr, &error) ==
          0);
  REQUIRE(navit_edge_c_drain(opened.session, &error) == 0);
  REQUIRE(navit_edge_c_submit_file(opened.session, &by_path, count, &released, &options, Box::done, &box, &id,
                                   &error) == 0);
  REQUIRE(navit_edge_c_drain(opened.session, &error) == 0);
  CHECK(id > 0);
  REQUIRE(navit_edge_c_submit_file(opened.session, &in_memory, count, &released, nullptr, Box::done, &box, &id,
                                   &error) == 0);
  REQUIRE(navit_edge_c_drain(opened.session, &error) == 0);
  const navit_edge_c_result expected = box.at(0);
  for (const std::size_t i : {1, 2}) {
    const navit_edge_c_result result = box.at(i);
    CHECK((result.code == 0 && result.height_px == 40 && result.width_px == 56));
    CHECK(values(result.logits) == values(expected.logits));
    CHECK(result.tag == (i == 1 ? 7 : 0));
  }
  opened.close();
  CHECK(released == 2);
}

/// NULL for the system's.
const char* or_null(const std::string& library) { return library.empty() ? nullptr : library.c_str(); }

}  // namespace

TEST_CASE("a file gives what its pixels give, by its path and in memory, and is released once") {
  const std::string jpeg = NAVIT_EDGE_JPEG_LIBRARY;
  const std::string png = NAVIT_EDGE_PNG_LIBRARY;
  navit_edge_c_error error{};
  if (navit_edge_c_open_jpeg(or_null(jpeg), &error) == 0) {
    check_file("jpeg/baseline.jpg", decode_jpeg(read_image_file("jpeg/baseline.jpg")));
  } else {
    CHECK(contains(error.message, "libjpeg"));
  }
  if (navit_edge_c_open_png(or_null(png), &error) == 0) {
    for (const char* name : {"png/rgb.png", "png/rgba.png", "png/palette.png", "png/interlaced.png"}) {
      check_file(name, decode_png(read_image_file(name)));
    }
  } else {
    CHECK(contains(error.message, "libpng"));
  }
}

TEST_CASE("what is wrong with a file is its result's; what is wrong with the call is refused") {
  TestBundle bundle;
  CSession opened(bundle.write());
  std::atomic<int> released{0};
  Box box;
  navit_edge_c_error error{};
  std::uint64_t id = 5;
  const navit_edge_c_file none = c_file("/nowhere/none.jpg");
  REQUIRE(navit_edge_c_submit_file(opened.session, &none, count, &released, nullptr, Box::done, &box, &id, &error) ==
          0);
  REQUIRE(navit_edge_c_drain(opened.session, &error) == 0);
  CHECK(box.at(0).code == NAVIT_EDGE_C_INVALID_INPUT);
  CHECK(contains(box.at(0).message, "/nowhere/none.jpg"));
  const Bytes text{'t', 'e', 'x', 't'};
  const auto refused = [&](const navit_edge_c_file* file, const char* words) {
    const auto code =
        navit_edge_c_submit_file(opened.session, file, count, &released, nullptr, Box::done, &box, &id, &error);
    CHECK((code == NAVIT_EDGE_C_INVALID_INPUT && id == 0));
    CHECK(contains(error.message, words));
  };
  refused(nullptr, "file is NULL");
  navit_edge_c_file both = c_file(text);
  both.path = "a.jpg";
  refused(&both, "both a path and data");
  const navit_edge_c_file neither = c_file(nullptr);
  refused(&neither, "no path and no data");
  navit_edge_c_file empty = c_file(text);
  empty.size = 0;
  refused(&empty, "is empty");
  const navit_edge_c_file no_path = c_file("");
  refused(&no_path, "is empty");
  opened.close();
  CHECK(released == 1);
}

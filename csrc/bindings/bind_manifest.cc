// What a reader of manifests and other JSON refuses: Python's readers ask here first, so that there is one answer.
#include <string>
#include <string_view>

#include "bindings.h"
#include "gil.h"
#include "navit_edge/manifest_text.h"

namespace py = pybind11;

namespace navit_edge::bindings {

void bind_manifest(py::module_& module) {
  module.attr("most_manifest_bytes") = kMostManifestBytes;
  module.def(
      "check_manifest",
      [](const py::bytes& text, const std::string& source) {
        const std::string_view view = text;
        const ReleasedGil release;
        (void)parse_manifest(view, source);
      },
      py::arg("text"), py::kw_only(), py::arg("source"),
      "Raises BundleError if the text of a manifest is not one that a session opens.");
  module.def(
      "stays_inside", [](const std::string& name) { return stays_inside(name); }, py::arg("name"),
      "Whether it is a plain relative name of a file inside of a bundle, and not the manifest's own.");
  module.def(
      "check_json",
      [](const py::bytes& text, const std::string& source, const std::string& remedy) {
        const std::string_view view = text;
        const ReleasedGil release;
        check_json(view, source, remedy);
      },
      py::arg("text"), py::kw_only(), py::arg("source"), py::arg("remedy"),
      "Raises BundleError if the text is not one JSON document in UTF-8 within the limits of docs/bundle.md.");
}

}  // namespace navit_edge::bindings

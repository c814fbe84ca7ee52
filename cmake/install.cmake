# find_package(navit_edge) for applications.
include(CMakePackageConfigHelpers)

set(NAVIT_EDGE_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/navit_edge")

install(DIRECTORY csrc/include/navit_edge DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(TARGETS navit_edge EXPORT navit_edge-targets LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT navit_edge-targets NAMESPACE navit_edge:: DESTINATION "${NAVIT_EDGE_CMAKE_DIR}")

configure_package_config_file(
  cmake/navit_edge-config.cmake.in "${CMAKE_BINARY_DIR}/navit_edge-config.cmake"
  INSTALL_DESTINATION "${NAVIT_EDGE_CMAKE_DIR}")
write_basic_package_version_file("${CMAKE_BINARY_DIR}/navit_edge-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(
  FILES "${CMAKE_BINARY_DIR}/navit_edge-config.cmake" "${CMAKE_BINARY_DIR}/navit_edge-config-version.cmake"
  DESTINATION "${NAVIT_EDGE_CMAKE_DIR}")

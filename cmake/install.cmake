# find_package(navit_edge) and pkg-config for applications. Nothing that is installed names the prefix, so that the tree
# may be moved, and lie in a wheel.
include(CMakePackageConfigHelpers)

set(NAVIT_EDGE_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/navit_edge")
set(NAVIT_EDGE_PKGCONFIG_DIR "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

install(DIRECTORY csrc/include/navit_edge DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(TARGETS navit_edge EXPORT navit_edge-targets LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT navit_edge-targets NAMESPACE navit_edge:: DESTINATION "${NAVIT_EDGE_CMAKE_DIR}")

configure_package_config_file(
  cmake/navit_edge-config.cmake.in "${CMAKE_BINARY_DIR}/navit_edge-config.cmake"
  INSTALL_DESTINATION "${NAVIT_EDGE_CMAKE_DIR}" PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR
  NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file("${CMAKE_BINARY_DIR}/navit_edge-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(
  FILES "${CMAKE_BINARY_DIR}/navit_edge-config.cmake" "${CMAKE_BINARY_DIR}/navit_edge-config-version.cmake"
  DESTINATION "${NAVIT_EDGE_CMAKE_DIR}")

# From the folder of navit_edge.pc, which pkg-config knows, to the folders that it names.
foreach(_folder LIBDIR INCLUDEDIR)
  file(RELATIVE_PATH NAVIT_EDGE_PC_${_folder}
    "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_FULL_${_folder}}")
endforeach()
configure_file(cmake/navit_edge.pc.in "${CMAKE_BINARY_DIR}/navit_edge.pc" @ONLY)
install(FILES "${CMAKE_BINARY_DIR}/navit_edge.pc" DESTINATION "${NAVIT_EDGE_PKGCONFIG_DIR}")

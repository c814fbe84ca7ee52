# find_package(navit_edge) and pkg-config for applications. Nothing that is installed names the prefix, so that the tree
# may be moved, and lie in a wheel.
include(CMakePackageConfigHelpers)

set(NAVIT_EDGE_CMAKE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/navit_edge")
set(NAVIT_EDGE_PKGCONFIG_DIR "${CMAKE_INSTALL_LIBDIR}/pkgconfig")

set(_namelink "")
if(SKBUILD)
  set(_namelink NAMELINK_SKIP)  # a wheel would hold a second copy for the link
endif()

install(DIRECTORY csrc/include/navit_edge "${PROJECT_BINARY_DIR}/include/navit_edge"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.h")
install(TARGETS navit_edge EXPORT navit_edge-targets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}" ${_namelink}
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT navit_edge-targets NAMESPACE navit_edge:: DESTINATION "${NAVIT_EDGE_CMAKE_DIR}")

get_target_property(_type navit_edge TYPE)
set(NAVIT_EDGE_IS_STATIC FALSE)
if(_type STREQUAL "STATIC_LIBRARY")
  set(NAVIT_EDGE_IS_STATIC TRUE)
endif()
configure_package_config_file(
  cmake/navit_edge-config.cmake.in "${PROJECT_BINARY_DIR}/navit_edge-config.cmake"
  INSTALL_DESTINATION "${NAVIT_EDGE_CMAKE_DIR}" PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR
  NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/navit_edge-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(
  FILES "${PROJECT_BINARY_DIR}/navit_edge-config.cmake" "${PROJECT_BINARY_DIR}/navit_edge-config-version.cmake"
  DESTINATION "${NAVIT_EDGE_CMAKE_DIR}")

# From the folder of navit_edge.pc, which pkg-config knows, to the folders that it names.
foreach(_folder LIBDIR INCLUDEDIR)
  file(RELATIVE_PATH NAVIT_EDGE_PC_${_folder}
    "${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig" "${CMAKE_INSTALL_FULL_${_folder}}")
endforeach()
# With what a static library needs besides; by its file's name where there is no link.
set(NAVIT_EDGE_PC_LIBS "-lnavit_edge")
if(NAVIT_EDGE_IS_STATIC)
  set(NAVIT_EDGE_PC_LIBS "-lnavit_edge -Wl,--exclude-libs,libnavit_edge.a -lstdc++ -lm -ldl -pthread")
elseif(SKBUILD)
  set(NAVIT_EDGE_PC_LIBS "-l:libnavit_edge.so.${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR}")
endif()
configure_file(cmake/navit_edge.pc.in "${PROJECT_BINARY_DIR}/navit_edge.pc" @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/navit_edge.pc" DESTINATION "${NAVIT_EDGE_PKGCONFIG_DIR}")

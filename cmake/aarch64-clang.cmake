# Compiles for 64-bit Arm by clang, with the headers that PyPI's ziglang brings: nothing of the system's is needed. NAVIT_EDGE_ZIG: its zig.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES NAVIT_EDGE_ZIG)
set(CMAKE_CXX_COMPILER "${NAVIT_EDGE_ZIG}" c++)
set(CMAKE_C_COMPILER "${NAVIT_EDGE_ZIG}" cc)
# Ubuntu 22.04's glibc, which is JetPack 6's. Zig turns sanitizers on if nothing is optimized.
set(CMAKE_CXX_FLAGS_INIT "-target aarch64-linux-gnu.2.35 -fno-sanitize=all")
set(CMAKE_C_FLAGS_INIT "${CMAKE_CXX_FLAGS_INIT}")
# Told, since a compiler that CMake has to find out, or to try, links a program: a minute of libraries that are compiled for it.
set(CMAKE_CXX_COMPILER_ID Clang)
set(CMAKE_CXX_COMPILER_ID_RUN ON)
set(CMAKE_CXX_COMPILER_VERSION 20.1.2)
set(CMAKE_CXX_COMPILER_FRONTEND_VARIANT GNU)
set(CMAKE_EXECUTABLE_FORMAT ELF)
set(CMAKE_CXX_STANDARD_COMPUTED_DEFAULT 17)
set(CMAKE_CXX_EXTENSIONS_COMPUTED_DEFAULT ON)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)

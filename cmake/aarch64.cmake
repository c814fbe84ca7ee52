# Cross-compiles for 64-bit Arm with the compiler of JetPack 6; tests run under qemu. On Debian and Ubuntu: g++-11-aarch64-linux-gnu, qemu-user.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
find_program(NAVIT_EDGE_AARCH64_CXX NAMES aarch64-linux-gnu-g++-11 aarch64-linux-gnu-g++ REQUIRED)
set(CMAKE_CXX_COMPILER "${NAVIT_EDGE_AARCH64_CXX}")
string(REPLACE "g++" "gcc" CMAKE_C_COMPILER "${NAVIT_EDGE_AARCH64_CXX}")
set(CMAKE_CROSSCOMPILING_EMULATOR "qemu-aarch64;-L;/usr/aarch64-linux-gnu")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)

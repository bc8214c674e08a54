# Cross-compiles for AArch64 phones with zig, to static programs that need nothing on the phone.
#   -DIMP_ZIG=PATH   the zig program (of PyPI's `ziglang`)
#   -DIMP_CPU=NAME   the instructions that the phone has, as zig writes them: generic+v8_2a+dotprod+...
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES IMP_ZIG IMP_CPU)

set(CMAKE_C_COMPILER ${IMP_ZIG} cc)
set(CMAKE_CXX_COMPILER ${IMP_ZIG} c++)
foreach(language C CXX)
    set(CMAKE_${language}_COMPILER_TARGET aarch64-linux-musl)
    # zig has no -march for this target: -mcpu says it all, and ggml finds the features by its own checks.
    set(CMAKE_${language}_FLAGS_INIT "-mcpu=${IMP_CPU}")
    # The archiver is a subcommand of the same program, so the rules name it instead of CMAKE_AR.
    set(CMAKE_${language}_ARCHIVE_CREATE "\"${IMP_ZIG}\" ar qc <TARGET> <LINK_FLAGS> <OBJECTS>")
    set(CMAKE_${language}_ARCHIVE_APPEND "\"${IMP_ZIG}\" ar q <TARGET> <LINK_FLAGS> <OBJECTS>")
    set(CMAKE_${language}_ARCHIVE_FINISH "\"${IMP_ZIG}\" ranlib <TARGET>")
endforeach()
set(CMAKE_AR ${IMP_ZIG})
set(CMAKE_RANLIB ${IMP_ZIG})
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -s")

set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE NEVER)

# Build rules shared by every folder: warnings, hardening, sanitizers, and the helpers
# podvisor_library(), podvisor_executable(), podvisor_unit_test() and podvisor_fuzz_target().

add_library(podvisor_flags INTERFACE)
target_compile_definitions(podvisor_flags INTERFACE _GNU_SOURCE
                           PODVISOR_VERSION="${PROJECT_VERSION}")
target_include_directories(podvisor_flags INTERFACE ${PROJECT_SOURCE_DIR}/include)
target_compile_options(podvisor_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wformat=2 -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -Wundef -Wpointer-arith -Wcast-qual -Wimplicit-fallthrough -Wwrite-strings
  -fno-strict-aliasing -fno-common -fvisibility=hidden -fstack-protector-strong
  -ffile-prefix-map=${PROJECT_SOURCE_DIR}/=)

# The kernel's structures that end in an array of their own (kvm_cpuid2...) are given one by wrapping them.
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  target_compile_options(podvisor_flags INTERFACE -Wno-gnu-variable-sized-type-not-at-end)
endif()

if(PODVISOR_SANITIZE)
  target_compile_options(podvisor_flags INTERFACE -fsanitize=${PODVISOR_SANITIZE}
                         -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_link_options(podvisor_flags INTERFACE -fsanitize=${PODVISOR_SANITIZE})
else()
  # Position-independent code everywhere: the monitor is linked static-PIE from the same objects.
  set(CMAKE_POSITION_INDEPENDENT_CODE ON)
  target_link_options(podvisor_flags INTERFACE -Wl,-z,relro,-z,now,-z,noexecstack)
  if(CMAKE_BUILD_TYPE MATCHES "Rel")
    target_compile_options(podvisor_flags INTERFACE -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  endif()
endif()
if(PODVISOR_COVERAGE)
  target_compile_options(podvisor_flags INTERFACE --coverage)
  target_link_options(podvisor_flags INTERFACE --coverage)
endif()
if(PODVISOR_FUZZ)
  target_compile_options(podvisor_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# podvisor_library(NAME SOURCES... [LINK libs...]): static library podvisor_NAME of this folder.
function(podvisor_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_library(podvisor_${name} STATIC ${ARG_SOURCES})
  target_include_directories(podvisor_${name} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(podvisor_${name} PUBLIC podvisor_flags ${ARG_LINK})
endfunction()

# podvisor_executable(NAME SOURCES... [LINK libs...]): a program in the build tree's bin/, where the
# front finds the monitor as it does in an installation.
function(podvisor_executable name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE podvisor_flags ${ARG_LINK})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
endfunction()

# podvisor_unit_test(NAME SOURCES... [LINK libs...]): a Check executable test-NAME, label "unit".
function(podvisor_unit_test name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  pkg_check_modules(CHECK REQUIRED IMPORTED_TARGET check)
  add_executable(test-${name} ${ARG_SOURCES})
  target_link_libraries(test-${name} PRIVATE podvisor_flags ${ARG_LINK} PkgConfig::CHECK)
  target_include_directories(test-${name} PRIVATE ${PROJECT_SOURCE_DIR}/tests/unit)
  add_test(NAME unit-${name} COMMAND test-${name})
  set_tests_properties(unit-${name} PROPERTIES LABELS unit TIMEOUT 120)
  if(PODVISOR_SANITIZE)
    set_tests_properties(unit-${name} PROPERTIES ENVIRONMENT "CK_FORK=no")
  endif()
endfunction()

# podvisor_fuzz_target(NAME SOURCES... [LINK libs...]): LLVMFuzzerTestOneInput in SOURCES. With
# PODVISOR_FUZZ it is a libFuzzer binary fuzz-NAME; always it is replay-NAME, which runs every file
# of corpus/NAME beside the sources once, as an ordinary test with the label "fuzz".
function(podvisor_fuzz_target name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINK" ${ARGN})
  if(PODVISOR_FUZZ)
    add_executable(fuzz-${name} ${ARG_SOURCES})
    target_link_libraries(fuzz-${name} PRIVATE podvisor_flags ${ARG_LINK})
    target_link_options(fuzz-${name} PRIVATE -fsanitize=fuzzer)
  endif()
  add_executable(replay-${name} ${ARG_SOURCES} ${PROJECT_SOURCE_DIR}/tests/fuzz/replay.c)
  target_link_libraries(replay-${name} PRIVATE podvisor_flags ${ARG_LINK})
  add_test(NAME fuzz-replay-${name}
           COMMAND replay-${name} ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
  set_tests_properties(fuzz-replay-${name} PROPERTIES LABELS fuzz TIMEOUT 120)
endfunction()

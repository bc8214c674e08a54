// An AArch64 program for the virtual phone: arm hello | spin SECONDS | i8mm | fill FILE | blind
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int count, char ** arguments) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char * what = count > 1 ? arguments[1] : "";
    if (strcmp(what, "hello") == 0) {
        printf("hello from %zu-bit ARM\n", 8 * sizeof(void *));
        return 5;
    }
    if (strcmp(what, "spin") == 0) {
        const double end = now() + atof(arguments[2]);
        printf("spinning\n");
        while (now() < end) {
        }
        printf("done\n");
        return 0;
    }
    if (strcmp(what, "i8mm") == 0) {
        __asm__ volatile(".arch armv8.6-a+i8mm\n\tsmmla v0.4s, v1.16b, v2.16b" ::: "v0");
        printf("i8mm\n");
        return 0;
    }
    if (strcmp(what, "fill") == 0) {
        static char block[1 << 16];
        const int file = open(arguments[2], O_WRONLY | O_CREAT, 0600);
        memset(block, 1, sizeof block);
        for (double end = now() + 20; now() < end;) {
            if (write(file, block, sizeof block) < 0) {
                printf("errno %d\n", errno);
                return 1;
            }
            usleep(500);
        }
        return 0;
    }
    if (strcmp(what, "blind") == 0) { // new system calls, whose paths proot does not know
        char buffer[512];
        const long statx = syscall(291, AT_FDCWD, arguments[2], 0, 0xfff, buffer);
        const int statx_error = errno;
        const long access = syscall(439, AT_FDCWD, arguments[2], 0, 0);
        printf("statx %ld %d faccessat2 %ld %d\n", statx, statx_error, access, errno);
        return 0;
    }
    return 2;
}

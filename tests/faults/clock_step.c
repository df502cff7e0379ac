/* A preloaded library that shifts the wall clock of one program, while it runs and in either direction.

   CLOCK_FILE names a file of eight bytes: the shift in seconds, a native signed integer. Who writes it makes the clock
   step. Monotonic time stays as it is. Waits until a moment of the wall clock are translated back, so that they take as
   long as they were meant to. Where the clock steps after that moment was reckoned, a kernel would look again; so a wait
   for a condition ends early, as it always may, and its caller looks again by the clock as it is then. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int64_t shift(void) {
  static volatile int64_t *mapped;
  if (!mapped) {
    const char *name = getenv("CLOCK_FILE");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    void *where = mmap(NULL, sizeof *mapped, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (where == MAP_FAILED) return 0;
    mapped = where;
  }
  return *mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = (int)syscall(SYS_clock_gettime, clock, now);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
  return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  struct timespec exact;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *now) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (now) *now = exact.tv_sec;
  return exact.tv_sec;
}

static struct timespec unshifted(const struct timespec *moment) {
  struct timespec real = *moment;
  real.tv_sec -= shift();
  if (real.tv_sec < 0) real.tv_sec = 0;
  return real;
}

static void *next(const char *name) {
#ifdef __x86_64__ /* where an older one of the same name, for conditions of another size, would be found first */
  void *found = dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2");
  if (found) return found;
#endif
  return dlsym(RTLD_NEXT, name);
}

/* Whether `real` was too far away to wait for at once; then it is near. */
static int brought_near(struct timespec *real) {
  struct timespec near;
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &near);
  near.tv_nsec += 50 * 1000 * 1000;
  if (near.tv_nsec >= 1000000000) {
    near.tv_sec++;
    near.tv_nsec -= 1000000000;
  }
  if (real->tv_sec < near.tv_sec || (real->tv_sec == near.tv_sec && real->tv_nsec <= near.tv_nsec)) return 0;
  *real = near;
  return 1;
}

static int counts_wall_clock(pthread_cond_t *condition) { return !(condition->__data.__wrefs & 2); }

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
  static int (*original)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
  if (!original) original = next("pthread_cond_timedwait");
  if (!counts_wall_clock(condition)) return original(condition, mutex, until);
  struct timespec real = unshifted(until);
  int early = brought_near(&real), result = original(condition, mutex, &real);
  return early && result == ETIMEDOUT ? 0 : result;
}

int pthread_cond_clockwait(pthread_cond_t *condition, pthread_mutex_t *mutex, clockid_t clock,
                           const struct timespec *until) {
  static int (*original)(pthread_cond_t *, pthread_mutex_t *, clockid_t, const struct timespec *);
  if (!original) original = next("pthread_cond_clockwait");
  if (clock != CLOCK_REALTIME) return original(condition, mutex, clock, until);
  struct timespec real = unshifted(until);
  int early = brought_near(&real), result = original(condition, mutex, clock, &real);
  return early && result == ETIMEDOUT ? 0 : result;
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
  static int (*original)(sem_t *, const struct timespec *);
  if (!original) original = next("sem_timedwait");
  struct timespec real = unshifted(until);
  return original(semaphore, &real);
}

/*
 * Named threads that block all signals but faults (base/fault.h), so that the main thread gets them. There are no
 * wrappers for mutexes and condition variables: use those of pthreads.
 */
#ifndef HIPPOCAMP_LOOP_THREAD_H
#define HIPPOCAMP_LOOP_THREAD_H

#include <pthread.h>

/* Truncates `name` to 15 bytes, the kernel's limit. Aborts the process if the thread cannot be created. */
pthread_t thread_start(const char *name, void *(*run)(void *), void *argument);

#endif

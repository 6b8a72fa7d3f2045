/*
 * A named thread with all signals blocked, so that only the main thread gets them. pthread mutexes and condition
 * variables are used as they are.
 */
#ifndef HIPPOCAMP_LOOP_THREAD_H
#define HIPPOCAMP_LOOP_THREAD_H

#include <pthread.h>

/* `name` is cut to 15 bytes, the kernel's limit. Ends the process where no thread can be made. */
pthread_t thread_start(const char *name, void *(*run)(void *), void *argument);

#endif

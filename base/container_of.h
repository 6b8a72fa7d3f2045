/* The struct that a member is embedded in, of a pointer to the member. */
#ifndef HIPPOCAMP_BASE_CONTAINER_OF_H
#define HIPPOCAMP_BASE_CONTAINER_OF_H

#include <stddef.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif

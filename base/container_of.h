/* From a pointer to a member, a pointer to the struct that contains it. */
#ifndef HIPPOCAMP_BASE_CONTAINER_OF_H
#define HIPPOCAMP_BASE_CONTAINER_OF_H

#include <stddef.h>

#define container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif

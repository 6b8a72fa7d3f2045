#include "plugins/resolver.h"

#include "plugins/threads.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 4  /* a name that hangs does not hold up the others */
#define WAITING_MAX 64 /* bounded, since names that hang are asked for again and again */

static struct {
	pthread_mutex_t mutex;
	STAILQ_HEAD(, resolution) waiting;
	unsigned waiting_count;
	unsigned threads;
} resolver = {.mutex = PTHREAD_MUTEX_INITIALIZER, .waiting = STAILQ_HEAD_INITIALIZER(resolver.waiting)};

struct resolution *
resolution_new(const char *name, uint16_t port)
{
	struct resolution *resolution = calloc(1, sizeof(*resolution));

	if (resolution != NULL) {
		atomic_init(&resolution->references, 1);
		resolution->port = port;
		resolution->name = strdup(name);
		if (resolution->name == NULL) {
			free(resolution);
			return NULL;
		}
	}
	return resolution;
}

void
resolution_unref(struct resolution *resolution)
{
	if (atomic_fetch_sub(&resolution->references, 1) > 1) {
		return;
	}
	if (resolution->addresses != NULL) {
		freeaddrinfo(resolution->addresses);
	}
	free(resolution->name);
	free(resolution);
}

static void
look_up(struct resolution *resolution, int flags)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags | AI_NUMERICSERV};
	char port[8];
	int failure;

	(void)snprintf(port, sizeof(port), "%u", resolution->port);
	failure = getaddrinfo(resolution->name, port, &hints, &resolution->addresses);
	if (failure != 0) {
		resolution->addresses = NULL;
		(void)snprintf(resolution->failure, sizeof(resolution->failure), "%s", gai_strerror(failure));
	}
}

bool
resolution_is_numeric(struct resolution *resolution)
{
	look_up(resolution, AI_NUMERICHOST);
	return resolution->addresses != NULL;
}

static void *
run(void *argument)
{
	struct resolution *resolution;

	(void)pthread_mutex_lock(&resolver.mutex);
	while ((resolution = STAILQ_FIRST(&resolver.waiting)) != NULL) {
		STAILQ_REMOVE_HEAD(&resolver.waiting, queue);
		resolver.waiting_count--;
		(void)pthread_mutex_unlock(&resolver.mutex);
		look_up(resolution, AI_ADDRCONFIG);
		resolution->resolved(resolution);
		(void)pthread_mutex_lock(&resolver.mutex);
	}
	resolver.threads--;
	(void)pthread_mutex_unlock(&resolver.mutex);
	return argument;
}

/* If no thread can be started, the name waits until one can be; connect_timeout ends the wait. */
bool
resolver_ask(struct resolution *resolution)
{
	pthread_t thread;

	(void)pthread_mutex_lock(&resolver.mutex);
	if (resolver.waiting_count == WAITING_MAX) {
		(void)pthread_mutex_unlock(&resolver.mutex);
		(void)snprintf(resolution->failure, sizeof(resolution->failure), "too many names are being looked up");
		return false;
	}
	(void)atomic_fetch_add(&resolution->references, 1);
	STAILQ_INSERT_TAIL(&resolver.waiting, resolution, queue);
	resolver.waiting_count++;
	if (resolver.threads < THREADS_MAX && thread_begin(&thread, "hippocamp names", run, NULL)) {
		(void)pthread_detach(thread);
		resolver.threads++;
	}
	(void)pthread_mutex_unlock(&resolver.mutex);
	return true;
}
